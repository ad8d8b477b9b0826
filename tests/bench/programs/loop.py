"""A loop that keeps a core busy. Prints how long it takes, in seconds: the fastest of five."""

import time


def step(number, total):
    return (total * 31 + number) % 1_000_003


def loop():
    total = 0
    for number in range(1_000_000):
        total = step(number, total)
    return total


def elsewhere():
    return "a breakpoint that is never reached"  # here


def once():
    start = time.perf_counter()
    loop()
    return time.perf_counter() - start


print(min(once() for _ in range(5)))
