#!/usr/bin/env python3
"""Checks a hub's journal from the specifications alone, with no code of Pirogue.

    verify_journal.py log DIR VKEY                     a whole log, tile by tile
    verify_journal.py proof FILE VKEY [SIGNATURE BODY] a proof; with files, that it names this message
    verify_journal.py consistency OLD NEW PROOF VKEY   two checkpoints, a hash on each line of the proof
    verify_journal.py cases DIR VKEY                   a JSON case on each line of stdin; answers yes or no

C2SP signed-note, tlog-checkpoint, tlog-tiles and tlog-proof; RFC 6962 section 2;
WIRE.md section 6 for names. Needs Python 3.9 and the package cryptography.
"""

import base64
import functools
import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

WRONG = (ValueError, InvalidSignature)
# Which salt names the message of a fingerprint, in the extra line of a proof.
SALTS = {"fingerprint": "salt", "event_fingerprint": "event_salt"}


def need(condition, why):
    if not condition:
        raise ValueError(why)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def unbase64(text, length=None):
    """Standard base64 in its one right form (RFC 4648 sections 3.5 and 4)."""
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text and length in (None, len(data)), "base64 of another form")
    return data


def decimal(text):
    need(text.isascii() and text.isdigit() and str(int(text)) == text and int(text) < 2**64, "not a decimal number")
    return int(text)


def checkpoint(data, vkey):
    """The size and the root of a checkpoint that the key of `vkey` signed."""
    name, key_id, key = vkey.split("+", 2)
    key = unbase64(key, 33)
    need(key[0] == 1 and sha256(name.encode(), b"\n", key)[:4].hex() == key_id, "not a key for notes")
    note = data.decode()
    need(all(c >= " " or c == "\n" for c in note) and note.endswith("\n") and "\n\n" in note, "not a note")
    text, signatures = note[:-1].rsplit("\n\n", 1)
    signers = []
    for line in signatures.split("\n"):
        dash, signer, signature = line.split(" ")
        signature = unbase64(signature)
        need(dash == "—" and signer, "not a line of a signature")
        if signer == name and signature[:4].hex() == key_id:
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], (text + "\n").encode())
            signers.append(signer)
    origin, size, root, *more = text.split("\n")
    need(signers and origin == name and all(more), "not a checkpoint of this log")
    return decimal(size), unbase64(root, 32)


def node(left, right):
    return sha256(b"\x01", left, right)


def split(n):
    """The largest power of two below n."""
    return 1 << ((n - 1).bit_length() - 1)


def mth(hashes):
    """RFC 6962 section 2.1, over the hashes of leaves, or of subtrees as large as each other but the last."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256(b"")
    k = split(len(hashes))
    return node(mth(hashes[:k]), mth(hashes[k:]))


def path(kind, n, width):
    name = f"{n % 1000:03}"
    while n := n // 1000:
        name = f"x{n % 1000:03}/{name}"
    return f"tile/{kind}/{name}" + (f".p/{width}" if width < 256 else "")


@functools.lru_cache(maxsize=4096)
def leaves(bundle, width):
    """The leaf hashes of a bundle of exactly `width` entries, and their MTH."""
    hashes, at = [], 0
    for _ in range(width):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        hashes.append(sha256(b"\x00", bundle[at + 2 : end]))
        at = end
    need(at == len(bundle), "a bundle is cut, or too long")
    return hashes, mth(hashes)


def log(read, vkey):
    """Every bundle and every tile, up to the signed root. Returns the size."""
    size, root = checkpoint(read("checkpoint"), vkey)
    tops = []
    for n in range(0, size, 256):
        width = min(256, size - n)
        hashes, top = leaves(read(path("entries", n // 256, width)), width)
        need(read(path(0, n // 256, width)) == b"".join(hashes), f"tile {n // 256} isn't the leaves of its entries")
        tops.append(top)
    need(mth(tops) == root, "the entries don't give the signed root")
    # Tiles above have the hashes of the full ones below them.
    level, below = 1, tops[: size // 256]
    while below:
        groups = [below[n : n + 256] for n in range(0, len(below), 256)]
        for n, group in enumerate(groups):
            name = path(level, n, len(group))
            need(read(name) == b"".join(group), f"{name} isn't what is below")
        level, below = level + 1, [mth(group) for group in groups if len(group) == 256]
    return size


def climb(m, n, leaf, hashes):
    """The root that a proof leads to: RFC 6962 section 2.1.1 read backwards."""
    need(bool(hashes) == (n > 1), "too many hashes, or too few")
    if n == 1:
        return leaf
    k = split(n)
    if m < k:
        return node(climb(m, k, leaf, hashes[:-1]), hashes[-1])
    return node(hashes[-1], climb(m - k, n - k, leaf, hashes[:-1]))


def grow(m, n, hashes, known):
    """Both roots that a proof leads to: section 2.1.2 read backwards."""
    if m == n:
        need(len(hashes) == (0 if known else 1), "too many hashes, or too few")
        return (known or hashes[0],) * 2
    need(hashes, "too few hashes")
    k = split(n)
    if m <= k:
        old, new = grow(m, k, hashes[:-1], known)
        return old, node(new, hashes[-1])
    old, new = grow(m - k, n - k, hashes[:-1], None)
    return node(hashes[-1], old), node(hashes[-1], new)


def consistency(old, new, proof, vkey):
    (m, old_root), (n, new_root) = checkpoint(old, vkey), checkpoint(new, vkey)
    hashes = [unbase64(line, 32) for line in proof.decode("ascii").splitlines()]
    if m == 0:
        need(old_root == sha256(b"") and not hashes, "an empty log has one root and needs no proof")
    else:
        need(m <= n and grow(m, n, hashes, old_root) == (old_root, new_root), "not a log that grew")


def proof(data, vkey, signature=None, body=None):
    """A tlog-proof. With a message, that the entry names it. Returns the index."""
    lines, note = data.decode().split("\n\n", 1)
    header, extra, index, *hashes = lines.split("\n")
    need(header == "c2sp.org/tlog-proof@v1" and extra[:6] == "extra " and index[:6] == "index ", "not a proof")
    extra, index = json.loads(unbase64(extra[6:])), decimal(index[6:])
    texts = isinstance(extra, dict) and all(isinstance(value, str) for value in extra.values())
    known = {"entry", "signature", *SALTS, *SALTS.values()}
    need(texts and {"entry"} <= set(extra) <= known, "extra isn't of the form")
    given = {name: unbase64(extra[name], 32) for name in set(extra) - {"entry", "signature"}}
    size, root = checkpoint(note.encode(), vkey)
    entry = unbase64(extra["entry"])
    leaf, hashes = sha256(b"\x00", entry), [unbase64(line, 32) for line in hashes]
    need(index < size and climb(index, size, leaf, hashes) == root, "not in the log")
    named = [(salt, given[of]) for of, salt in SALTS.items() if {of, salt} <= set(given)]
    if body is not None:
        named.append(("salt", sha256(signature, b"\x00", body)))
    for salt, fingerprint in named:
        # Version 1; kinds 1 (event) and 2 (delivered) have the name after 8 bytes of time, 2 that of its event next.
        kinds, at = (b"\x01\x01", b"\x01\x02"), 10
        if salt == "event_salt":
            kinds, at = (b"\x01\x02",), 42
        need(salt in given and entry[:2] in kinds, "there is no salt, or the entry names no message")
        name = hmac.digest(given[salt], fingerprint, "sha256")
        need(name == entry[at : at + 32], "the entry names another message")
    return index


def main(command, *arguments):
    if command in ("proof", "consistency"):
        files = [a if "+" in a and not pathlib.Path(a).exists() else pathlib.Path(a).read_bytes() for a in arguments]
        return print("good", {"proof": proof, "consistency": consistency}[command](*files))
    folder, vkey = pathlib.Path(arguments[0]), arguments[1]

    def read(name):
        need((folder / name).is_file(), f"{name} isn't there")
        return (folder / name).read_bytes()

    if command == "log":
        return print(log(read, vkey), "entries")
    # Whole logs with some files changed, proofs, checkpoints.
    for line in sys.stdin:
        case = {name: base64.b64decode(data) for name, data in json.loads(line).items()}
        try:
            if "proof" in case:
                proof(case["proof"], vkey)
            elif "between" in case:
                consistency(case["old"], case["new"], case["between"], vkey)
            else:
                log(lambda name: case[name] if name in case else read(name), vkey)
            print("yes")
        except WRONG:
            print("no")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except WRONG as wrong:
        sys.exit(f"wrong: {wrong or type(wrong).__name__}")
