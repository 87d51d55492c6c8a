"""Measuring: a run, a checkpoint of anybody's, a folder of images."""
