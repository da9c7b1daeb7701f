"""MNIST: handwritten digits."""

from dwp.data.idx import IdxDataset


class MNIST(IdxDataset):
    """MNIST, 60,000 train and 10,000 test images, from its four idx files.

    Args:
        root: folder with the files, in `MNIST/raw/`, `MNIST/` or directly; plain or `.gz`.
        train: which part.
        transform: applied to the PIL image of an item.
        target_transform: applied to the class of an item.
        download: fetch files that are missing into `root/MNIST/raw/`.

    Raises:
        UserError: files are missing, cannot be downloaded, or are not MNIST's.
    """

    name = "MNIST"
    classes = tuple("0123456789")
    strict = True
    urls = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    )
