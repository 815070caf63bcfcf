"""The errors that this package raises on bad input; each message names what was wrong and what was expected."""


class CistaError(Exception):
    """Base of all errors caused by what a user, a file or a message gave us.

    Its text is one line whatever names it quotes: those of a file may hold line ends, or what a terminal obeys.
    """

    def __str__(self) -> str:
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in super().__str__())


class EventError(CistaError):
    """Events that break the rules of an event array: outside the sensor, or going back in time."""


class DecodeError(CistaError):
    """Bytes that are not the message they claim to be."""


class RecordingError(CistaError):
    """A recording that is missing, damaged, or lacks what was asked for."""


class CheckpointError(CistaError):
    """A file that holds no weights, or the weights of another network."""


class DeviceError(CistaError):
    """A device that this machine does not have."""


class RuntimeUnavailableError(CistaError):
    """A way to run a network that is not installed, or that cannot run this network on this device."""


class MissingPackageError(CistaError):
    """A package that is needed for what was asked, and is not installed."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python's, numpy's or torch's (which has a type for it on GPUs only) says so."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in text and "alloc" in text)
