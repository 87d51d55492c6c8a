"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import pickle


def load_network_pkl(f):
    return pickle.load(f)
