"""Stops at a line where there are small values and big ones."""

import numpy
import pandas


def table(rows: int) -> pandas.DataFrame:
    numbers = numpy.arange(rows)
    return pandas.DataFrame(
        {
            "number": numbers,
            "name": [f"name {n % 1000}" for n in range(rows)],
            "share": numpy.ones(rows),
            "time": pandas.date_range("2020", periods=rows, freq="s"),
            "group": pandas.Categorical.from_codes(numbers % 3, ["a", "b", "c"]),
        }
    )


def main() -> None:
    small_array, big_array = numpy.ones(100), numpy.ones(500_000_000)
    small_table, big_table = table(100), table(10_000_000)
    small_dict, big_dict = dict.fromkeys(range(1_000)), dict.fromkeys(range(10_000_000))
    small_list, big_list = list(range(1_000)), list(range(10_000_000))
    print(small_array, big_array, small_table, big_table)  # here
    print(len(small_dict), len(big_dict), len(small_list), len(big_list))


if __name__ == "__main__":
    main()
