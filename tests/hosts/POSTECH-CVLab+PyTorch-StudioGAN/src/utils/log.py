"""Stand-in written for the tests: names and call structure of POSTECH-CVLab/PyTorch-StudioGAN, none of its text."""

import logging
import os
from datetime import datetime
from os.path import dirname, join


def make_run_name(format, data_name, framework, phase):
    timestamp = datetime.now().strftime("%Y_%m_%d_%H_%M_%S")
    return format.format(data_name=data_name, framework=framework, phase=phase, timestamp=timestamp)


def make_logger(save_dir, run_name, log_output):
    logger = logging.getLogger(run_name)
    logger.propagate = False
    path = join(save_dir, "logs", run_name + ".log")
    os.makedirs(dirname(path), exist_ok=True)
    if not logger.handlers:
        logger.addHandler(logging.FileHandler(path, "a", "utf-8"))
        logger.addHandler(logging.StreamHandler(os.sys.stdout))
        logger.setLevel(logging.INFO)
    return logger
