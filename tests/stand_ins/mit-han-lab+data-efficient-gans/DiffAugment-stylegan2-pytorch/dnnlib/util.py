"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import pkgutil


class EasyDict(dict):
    __setattr__ = dict.__setitem__

    def __getattr__(self, key):
        if key in self:
            return self[key]
        raise AttributeError(key)


def construct_class_by_name(*given, class_name, **options):
    return pkgutil.resolve_name(class_name)(*given, **options)


def open_url(url):
    return open(url, "rb")
