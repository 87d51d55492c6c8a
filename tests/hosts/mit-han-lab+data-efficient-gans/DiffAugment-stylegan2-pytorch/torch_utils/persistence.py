"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""

import copy
import inspect
import io
import pickle
import sys
import types
import uuid

import dnnlib
import torch

_version = 6
_decorators = set()
_module_to_src_dict = {}
_src_to_module_dict = {}


def persistent_class(orig_class):
    """A subclass of the same name whose pickles, and deep copies, are made of its module's source and its state."""
    if is_persistent(orig_class):
        return orig_class
    orig_module = sys.modules[orig_class.__module__]
    orig_module_src = _module_to_src(orig_module)

    class Decorator(orig_class):
        _orig_module_src = orig_module_src
        _orig_class_name = orig_class.__name__

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._init_args, self._init_kwargs = copy.deepcopy(args), copy.deepcopy(kwargs)
            assert orig_class.__name__ in orig_module.__dict__
            _check_pickleable(self.__reduce__())

        @property
        def init_kwargs(self):
            return dnnlib.EasyDict(copy.deepcopy(self._init_kwargs))

        def __reduce__(self):
            fields = list(super().__reduce__())
            fields += [None] * max(3 - len(fields), 0)
            if fields[0] is not _reconstruct_persistent_obj:
                meta = {
                    "type": "class", "version": _version, "module_src": self._orig_module_src,
                    "class_name": self._orig_class_name, "state": fields[2],
                }  # fmt: skip
                fields[:3] = _reconstruct_persistent_obj, (meta,), None
            return tuple(fields)

    Decorator.__name__ = orig_class.__name__
    _decorators.add(Decorator)
    return Decorator


def is_persistent(obj):
    return (isinstance(obj, type) and obj in _decorators) or type(obj) in _decorators


def _reconstruct_persistent_obj(meta):
    meta = dnnlib.EasyDict(meta)
    module = _src_to_module(meta.module_src)
    decorator_class = persistent_class(module.__dict__[meta.class_name])
    obj = decorator_class.__new__(decorator_class)  # no constructor runs
    obj.__setstate__(dnnlib.EasyDict(meta.state))
    return obj


def _module_to_src(module):
    if module not in _module_to_src_dict:
        src = inspect.getsource(module)
        _module_to_src_dict[module], _src_to_module_dict[src] = src, module
    return _module_to_src_dict[module]


def _src_to_module(src):
    """The module of this source, or a new one of a name that nobody knows."""
    if src not in _src_to_module_dict:
        module = types.ModuleType("_imported_module_" + uuid.uuid4().hex)
        sys.modules[module.__name__] = module
        _module_to_src_dict[module], _src_to_module_dict[src] = src, module
        exec(src, module.__dict__)
    return _src_to_module_dict[src]


def _check_pickleable(obj):
    def recurse(obj):
        if isinstance(obj, (list, tuple, set)):
            return [recurse(x) for x in obj]
        if isinstance(obj, dict):
            return [[recurse(x), recurse(y)] for x, y in obj.items()]
        return None if is_persistent(obj) or isinstance(obj, torch.Tensor) else obj

    pickle.dump(recurse(obj), io.BytesIO())
