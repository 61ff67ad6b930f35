"""Holders of models: a reader or a decoder holds a model, and is found by the model's class.

    class Reader(Holder, expected="a language model", methods=("zero_state", "read")): ...
    class RecurrentReader(Reader, of=LanguageModel): ...

``Reader(model)`` is then a RecurrentReader if the model is a LanguageModel.  A model that has the
methods itself, such as an n-gram model, is returned as it is.
"""

from typing import Any, ClassVar


class Holder:
    """A model, and what is done with it: see the module."""

    _found: ClassVar[dict[type, type["Holder"]]]  # by the class of the model
    _expected: ClassVar[str]
    _methods: ClassVar[tuple[str, ...]]

    def __init_subclass__(
        cls,
        of: type | None = None,
        expected: str | None = None,
        methods: tuple[str, ...] = (),
        **options: Any,
    ) -> None:
        super().__init_subclass__(**options)
        if expected is not None:
            cls._found, cls._expected, cls._methods = {}, expected, methods
        if of is not None:
            cls._found[of] = cls

    def __new__(cls, model: Any) -> Any:
        """The holder of the model's class, or the model itself."""
        for known in type(model).__mro__:
            if known in cls._found:
                return super().__new__(cls._found[known])
        if all(hasattr(model, name) for name in cls._methods):
            return model
        found = type(model).__name__
        raise TypeError(f"{cls.__name__}: expected {cls._expected}, found {found}")

    def __init__(self, model: Any) -> None:
        if model is not self:  # Python calls this for what __new__ has returned
            self.model = model

    def __getnewargs__(self) -> tuple[Any]:
        return (self.model,)  # copying and unpickling pass it to __new__

    @property
    def config(self) -> Any:
        """The configuration of the model."""
        return self.model.config
