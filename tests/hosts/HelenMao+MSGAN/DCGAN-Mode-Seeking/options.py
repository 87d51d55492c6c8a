"""Stand-in written for the tests: names and call structure of HelenMao/MSGAN, none of its text."""

import argparse


class BaseOptions:
    def __init__(self):
        self.parser = argparse.ArgumentParser()
        self.parser.add_argument("--dataroot", type=str, required=True)
        self.parser.add_argument("--img_size", type=int, default=32)
        self.parser.add_argument("--nz", type=int, default=100)
        self.parser.add_argument("--class_num", type=int, default=10)
        self.parser.add_argument("--result_dir", type=str, default="./results")
        self.parser.add_argument("--gpu", type=int, default=0)

    def parse(self):
        self.opt = self.parser.parse_args()
        for name, value in sorted(vars(self.opt).items()):
            print(f"{name}: {value}")
        return self.opt


class TrainOptions(BaseOptions):
    def __init__(self):
        super().__init__()
        self.parser.add_argument("--phase", type=str, default="train")
        self.parser.add_argument("--batch_size", type=int, default=32)
        self.parser.add_argument("--nThreads", type=int, default=0)
        self.parser.add_argument("--name", type=str, default="trial")
        self.parser.add_argument("--display_dir", type=str, default="./logs")
        self.parser.add_argument("--display_freq", type=int, default=1)
        self.parser.add_argument("--img_save_freq", type=int, default=1)
        self.parser.add_argument("--model_save_freq", type=int, default=50)
        self.parser.add_argument("--no_display_img", action="store_true")
        self.parser.add_argument("--n_ep", type=int, default=200)
        self.parser.add_argument("--resume", type=str, default=None)


class TestOptions(BaseOptions):
    def __init__(self):
        super().__init__()
        self.parser.add_argument("--phase", type=str, default="test")
        self.parser.add_argument("--num", type=int, default=5)
        self.parser.add_argument("--name", type=str, default="CIFAR10")
        self.parser.add_argument("--resume", type=str, required=True)
