"""A loop that keeps a core busy. Prints how long it takes, in seconds: the fastest of nine."""

import random
import time


def step(number, total):
    return (total * 31 + number) % 1_000_003


def loop():
    total = 0
    for number in range(500_000):
        total = step(number, total)
    return total


def elsewhere():
    return "a breakpoint that is never reached"  # here


def elapsed():
    start = time.perf_counter()
    loop()
    return time.perf_counter() - start


if __name__ == "__main__":
    # Where code lies in memory makes a difference of some per cent: it lies elsewhere each time.
    code = compile(open(__file__).read(), __file__, "exec")
    copies: list[dict] = []
    gaps = []
    for _ in range(9):
        gaps.append(bytearray(random.randrange(10_000)))
        copies.append({"__name__": "loop"})
        exec(code, copies[-1])
    print(min(copy["elapsed"]() for copy in copies))
