"""Traffic Junction once more, in plain Python with one world: what the batched one is compared with."""

from __future__ import annotations

from dataclasses import dataclass

Route = list[tuple[int, int]]


@dataclass
class Car:
    route: int
    place: int = 0
    waited: int = 0
    action: int = 0


class PlainJunction:
    """The rules, car by car. ``lots`` are the random numbers of a step: per arrival, per arrival, per slot."""

    def __init__(self, routes: list[list[Route]], slots: int, rate: float, vision: int, size: int) -> None:
        self.by_arrival, self.rate, self.vision, self.size = routes, rate, vision, size
        self.routes = [route for some in routes for route in some]
        self.roads = sorted({cell for route in self.routes for cell in route})
        self.slots: list[Car | None] = [None] * slots
        self.collided = False

    def cell(self, car: Car) -> tuple[int, int]:
        return self.routes[car.route][car.place]

    def step(self, actions: list[int], lots: list[float]) -> tuple[list[float], list[bool]]:
        """Rewards, and who left."""
        left = [False] * len(self.slots)
        for i, car in enumerate(self.slots):
            if car is None:
                continue
            car.waited += 1
            car.action = actions[i]
            if actions[i] == 0:
                car.place += 1
                if car.place == len(self.routes[car.route]):
                    self.slots[i] = None
                    left[i] = True
        acted = [car for car in self.slots if car is not None]
        count = len(self.by_arrival)
        comes, choice, keys = lots[:count], lots[count : 2 * count], lots[2 * count :]
        for number, options in enumerate(self.by_arrival):
            free = [i for i, car in enumerate(self.slots) if car is None]
            if free and comes[number] < self.rate:
                slot = max(free, key=lambda i: keys[i])
                which = int(choice[number] * len(options))
                self.slots[slot] = Car(number * len(options) + which)
        rewards = []
        for car in self.slots:
            if car is None:
                rewards.append(0.0)
                continue
            meets = sum(other is not None and self.cell(other) == self.cell(car) for other in self.slots) > 1
            self.collided |= meets
            mine = any(car is other for other in acted)
            rewards.append(-0.01 * car.waited - 10.0 * meets if mine else 0.0)
        return rewards, left

    def window(self, car: Car) -> list[tuple[int, int]]:
        row, column = self.cell(car)
        reach = range(-self.vision, self.vision + 1)
        return [(row + i, column + j) for i in reach for j in reach]

    def count(self, cell: tuple[int, int]) -> int:
        return sum(car is not None and self.cell(car) == cell for car in self.slots)

    def dense(self) -> list[list[float]]:
        width = 2 + (2 * self.vision + 1) ** 2 * (len(self.roads) + 2)
        out = []
        for car in self.slots:
            if car is None:
                out.append([0.0] * width)
                continue
            seen = [float(car.action), car.route / (len(self.routes) - 1)]
            for cell in self.window(car):
                code = [0.0] * (len(self.roads) + 2)
                code[self.roads.index(cell) if cell in self.roads else len(self.roads)] = 1.0
                code[-1] = float(self.count(cell))
                seen += code
            out.append(seen)
        return out

    def indices(self) -> list[list[int]]:
        cells, routes, n = len(self.roads), len(self.routes), len(self.slots)
        out = []
        for car in self.slots:
            if car is None:
                out.append([-1] * (3 + (2 * self.vision + 1) ** 2))
                continue
            seen = [self.roads.index(self.cell(car)), cells + car.route, cells + routes + car.action]
            for place, cell in enumerate(self.window(car)):
                count = self.count(cell)
                seen.append(cells + routes + 2 + place * n + count - 1 if count else -1)
            out.append(seen)
        return out
