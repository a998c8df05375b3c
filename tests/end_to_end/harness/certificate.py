"""A certificate for this machine, and the authority that signed it."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import trustme


class Certificate:
    """Files that are gone when the tests are."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, folder)
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        self.authority = folder / "authority.pem"
        self.chain = folder / "chain.pem"
        self.private_key = folder / "private_key.pem"
        authority.cert_pem.write_to_path(self.authority)
        issued.private_key_pem.write_to_path(self.private_key)
        for pem in issued.cert_chain_pems:
            pem.write_to_path(self.chain, append=True)


@cache
def certificate() -> Certificate:
    return Certificate()
