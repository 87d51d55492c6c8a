"""Stand-in written for the tests: names and call structure of HelenMao/MSGAN, none of its text."""

import argparse
from typing import ClassVar


class BaseOptions:
    kinds: ClassVar = {"dataroot": str, "name": str, "nz": 100, "class_num": 10, "result_dir": "results"}

    def __init__(self):
        self.parser = argparse.ArgumentParser()
        for name, default in (BaseOptions.kinds | self.kinds).items():
            if isinstance(default, type):
                self.parser.add_argument(f"--{name}", type=default, required=True)
            else:
                self.parser.add_argument(f"--{name}", type=type(default), default=default)


class TrainOptions(BaseOptions):
    kinds: ClassVar = {"batch_size": 8, "n_ep": 2, "model_save_freq": 1, "resume": ""}

    def __init__(self):
        super().__init__()
        self.parser.add_argument("--no_display_img", action="store_true")

    def parse(self):
        return self.parser.parse_args()


class TestOptions(BaseOptions):
    kinds: ClassVar = {"resume": str}

    def __init__(self):
        super().__init__()

    def parse(self):
        return self.parser.parse_args()
