#!/usr/bin/env python3
"""Re-verifies what the members of `pirogue demo --data DIR` were sent.

It shares nothing with Pirogue but WIRE.md: its own Avro decoder, its own JWS
and signed-note parser; Ed25519 is OpenSSL's, by the package `cryptography`
(38 or later). Python 3.11 or later.

    python3 tests/verify_demo.py DIR [--recipient MEMBER …] [--schemas schemas]

Without --recipient, the inbox of every member of DIR/hub/members is verified.
Of each: every raw message (properties, headers, and the body in base64), what
a recipient has to check of it, the sequence without a gap, that the record
handed on is what the message says, and that no field is there which no
agreement grants.

DIR/sent.jsonl has every jobseeker as the Boost-like server served it, a line
each, in order. Each has to have arrived, once, in that order; and the values
that no grant lets through are looked for in every message. A demo that was
stopped while it went on (without --once) may have served records that hadn't
arrived yet: --stopped takes those that are missing at the end. --without-sent
does without the file.

Exit status: 0 when everything holds, 1 when something doesn't (the first 20
faults are printed), 2 when DIR isn't the folder of a demo.
"""

import argparse
import base64
import binascii
import hashlib
import json
import re
import struct
import sys
import tomllib
from collections import Counter
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MOST_FAULTS = 20
UNSIGNED = ("signature", "originsignature")
HUB_TYPES = "nc.hub."
PUBLISHED = HUB_TYPES + "schema.published"
REJECTED = HUB_TYPES + "event.rejected"
JOBSEEKER = "nc.employment.jobseeker.registered"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
# WIRE.md section 2. The demo slips in one bad message for each.
REASONS = (
    "too-large malformed unknown-key key-not-valid bad-signature attribute-mismatch not-your-source "
    "wrong-audience from-the-future unknown-schema invalid-data id-reused"
).split()
# WIRE.md section 3: what a delivery's `ce` holds, and what it may hold.
OF_EVERY = set(
    "specversion id source type time datacontenttype dataschema recipient epoch sequence".split()
)
OF_AN_EVENT = OF_EVERY | {"subject", "agreement"}


class Fault(Exception):
    """One thing that doesn't hold."""


class Stop(Exception):
    """Enough faults were found."""


# ---------------------------------------------------------------- base64url, JSON


def unb64url(text):
    """Bytes of canonical base64url without padding (RFC 4648 section 5)."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise Fault("not base64url")
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise Fault("not base64url") from None
    if b64url(raw) != text:
        raise Fault("base64url that isn't canonical")
    return raw


def b64url(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def once(pairs):
    """A JSON object whose keys are each there once."""
    seen = dict(pairs)
    if len(seen) != len(pairs):
        raise Fault("a JSON object has a key twice")
    return seen


def strict_json(text):
    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise Fault("not JSON") from None


# ---------------------------------------------------------------- Ed25519, strictly

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
# The y of the points of small order: 1, -1, 0 and those of the four points of order 8.
Y8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
SMALL = {0, 1, P - 1, Y8, P - Y8}


def strict_point(raw):
    """Refuses what isn't canonical, and points of small order."""
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= P or y in SMALL:
        raise Fault("a point of Ed25519 that strict verification refuses")


def verify(key, message, signature):
    """RFC 8032 section 5.1.7, and strictly: S below the order, no small order."""
    if len(signature) != 64:
        raise Fault("a signature that isn't 64 bytes")
    strict_point(signature[:32])
    if int.from_bytes(signature[32:], "little") >= L:
        raise Fault("a signature with an S that isn't below the order")
    try:
        key["key"].verify(signature, message)
    except InvalidSignature:
        raise Fault("the signature isn't of these bytes by that key") from None


def read_jwks(path, owner):
    """The keys of a JWKS by kid; checks that each is of `owner`, and that each kid
    is the thumbprint (RFC 7638)."""
    keys = {}
    for jwk in strict_json(path.read_text("utf-8"))["keys"]:
        if jwk.get("pirogue_member") != owner:
            raise Fault(f"{path.name}: a key that isn't {owner}'s")
        if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519" or "d" in jwk:
            raise Fault(f"{path.name}: a key that isn't a public Ed25519 key")
        if jwk.get("use") != "sig" or "alg" in jwk:
            raise Fault(f"{path.name}: a key whose `use` isn't sig, or that has `alg`")
        x = unb64url(jwk["x"])
        if len(x) != 32:
            raise Fault(f"{path.name}: a key that isn't 32 bytes")
        strict_point(x)
        text = '{"crv":"Ed25519","kty":"OKP","x":"%s"}' % jwk["x"]
        if b64url(hashlib.sha256(text.encode()).digest()) != jwk["kid"]:
            raise Fault(f"{path.name}: a kid that isn't the key's thumbprint")
        keys[jwk["kid"]] = {**jwk, "raw": x, "key": Ed25519PublicKey.from_public_bytes(x)}
    return keys


class Jws:
    """A detached JWS with an unencoded payload (RFC 7515 appendix F, RFC 7797)."""

    def __init__(self, text):
        parts = text.split(".") if isinstance(text, str) else []
        if len(parts) != 3 or parts[1] != "":
            raise Fault("not a detached JWS")
        self.protected = parts[0].encode()
        header = strict_json(unb64url(parts[0]).decode("utf-8", "strict"))
        if not isinstance(header, dict) or header.get("alg") not in ("EdDSA", "Ed25519"):
            raise Fault("a JWS whose alg isn't EdDSA or Ed25519")
        if header.get("b64") is not False or header.get("crit") != ["b64"]:
            raise Fault("a JWS whose payload isn't declared unencoded")
        self.kid, self.aud, self.ce = header.get("kid"), header.get("aud"), header.get("ce")
        if not isinstance(self.ce, dict) or not all(isinstance(v, str) and v for v in self.ce.values()):
            raise Fault("a JWS whose ce isn't an object of texts")
        if any(name in self.ce for name in UNSIGNED):
            raise Fault("a JWS whose ce holds a signature")
        self.signature = unb64url(parts[2])

    def verify(self, key, body):
        verify(key, self.protected + b"." + body, self.signature)


# ---------------------------------------------------------------- Avro 1.11

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")


def crc64(data):
    """CRC-64-AVRO, as the specification's pseudocode has it."""
    value = EMPTY
    for byte in data:
        value = (value >> 8) ^ CRC_TABLE[(value ^ byte) & 0xFF]
    return value


EMPTY = 0xC15D213AA4D7A795
CRC_TABLE = []
for _n in range(256):
    _fp = _n
    for _ in range(8):
        _fp = (_fp >> 1) ^ (EMPTY & -(_fp & 1))
    CRC_TABLE.append(_fp)


class Schema:
    """A schema with its names resolved. `common` gives the text of a named type
    that the schema names and doesn't define."""

    def __init__(self, text, common=None):
        self.names, self.common = {}, common
        parsed = strict_json(text)
        self.subjects = parsed.get("subjects", {}) if isinstance(parsed, dict) else {}
        self.root = self._resolve(parsed, "")
        self.canonical = json.dumps(
            self._canonical(self.root, set()), ensure_ascii=False, separators=(",", ":")
        )
        self.fingerprint = struct.pack("<Q", crc64(self.canonical.encode()))
        self.paths = set(self._paths(self.root, "", ()))
        self.read = self._reader(self.root, {})

    def _resolve(self, schema, namespace):
        if isinstance(schema, list):
            return {"type": "union", "branches": [self._resolve(s, namespace) for s in schema]}
        if isinstance(schema, str):
            if schema in PRIMITIVES:
                return {"type": schema}
            name = schema if "." in schema or not namespace else f"{namespace}.{schema}"
            if name not in self.names and self.common:
                text = self.common(name)
                if text is not None:
                    return self._resolve(strict_json(text), "")
            if name not in self.names:
                raise Fault(f"a schema names {name}, which it doesn't define")
            return self.names[name]
        kind = schema["type"]
        if not isinstance(kind, str) or (kind not in PRIMITIVES and kind not in COMPLEX):
            return self._resolve(kind, namespace)
        if kind in PRIMITIVES:
            return {"type": kind}
        if kind == "array":
            return {"type": kind, "items": self._resolve(schema["items"], namespace)}
        if kind == "map":
            return {"type": kind, "values": self._resolve(schema["values"], namespace)}
        name, space = schema["name"], schema.get("namespace", namespace)
        full = name if "." in name or not space else f"{space}.{name}"
        if full in self.names:
            raise Fault(f"a schema defines {full} twice")
        node = {"type": kind, "name": full}
        self.names[full] = node
        if kind == "enum":
            node["symbols"] = schema["symbols"]
        elif kind == "fixed":
            node["size"] = schema["size"]
        else:
            inner = full.rpartition(".")[0]
            node["fields"] = [
                {"name": f["name"], "type": self._resolve(f["type"], inner)}
                for f in schema["fields"]
            ]
        return node

    def _canonical(self, node, done):
        """Parsing Canonical Form, of a resolved schema."""
        kind = node["type"]
        if kind in PRIMITIVES:
            return kind
        if kind == "union":
            return [self._canonical(b, done) for b in node["branches"]]
        if kind == "array":
            return {"type": kind, "items": self._canonical(node["items"], done)}
        if kind == "map":
            return {"type": kind, "values": self._canonical(node["values"], done)}
        if node["name"] in done:
            return node["name"]
        done.add(node["name"])
        out = {"name": node["name"], "type": kind}
        if kind == "record":
            out["fields"] = [
                {"name": f["name"], "type": self._canonical(f["type"], done)} for f in node["fields"]
            ]
        elif kind == "enum":
            out["symbols"] = node["symbols"]
        else:
            out["size"] = node["size"]
        return out

    def _paths(self, node, prefix, above):
        """The path of every field: arrays, maps and unions pass unnamed."""
        kind = node["type"]
        if kind == "union":
            for branch in node["branches"]:
                yield from self._paths(branch, prefix, above)
        elif kind in ("array", "map"):
            yield from self._paths(node["items" if kind == "array" else "values"], prefix, above)
        elif kind == "record" and node["name"] not in above:
            for field in node["fields"]:
                path = f"{prefix}.{field['name']}" if prefix else field["name"]
                yield path
                yield from self._paths(field["type"], path, above + (node["name"],))

    def _reader(self, node, made):
        """A function from (bytes, position) to (value, position)."""
        kind = node["type"]
        if kind in SIMPLE:
            return SIMPLE[kind]
        if kind == "union":
            branches = [self._reader(b, made) for b in node["branches"]]

            def union(raw, at):
                which, at = read_long(raw, at)
                if not 0 <= which < len(branches):
                    raise Fault("a union's branch that isn't there")
                return branches[which](raw, at)

            return union
        if kind in ("array", "map"):
            item = self._reader(node["items" if kind == "array" else "values"], made)
            return blocks(item if kind == "array" else lambda raw, at: pair(item, raw, at))
        if node["name"] in made:
            return lambda raw, at: made[node["name"]](raw, at)
        if kind == "enum":
            symbols = node["symbols"]

            def enum(raw, at):
                which, at = read_int(raw, at)
                if not 0 <= which < len(symbols):
                    raise Fault("an enum's symbol that isn't there")
                return symbols[which], at

            made[node["name"]] = enum
            return enum
        if kind == "fixed":
            made[node["name"]] = lambda raw, at: take(raw, at, node["size"])
            return made[node["name"]]
        fields = []

        def record(raw, at):
            value = {}
            for name, read in fields:
                value[name], at = read(raw, at)
            return value, at

        made[node["name"]] = record
        fields.extend((f["name"], self._reader(f["type"], made)) for f in node["fields"])
        return record

    def decode(self, body):
        """The datum of a single-object body, read to its end."""
        if body[:2] != b"\xc3\x01":
            raise Fault("a body that isn't a single-object encoding")
        if body[2:10] != self.fingerprint:
            raise Fault("a body whose fingerprint isn't its schema's")
        value, at = self.read(body, 10)
        if at != len(body):
            raise Fault("a body that goes on after its datum")
        return value


COMPLEX = ("record", "enum", "fixed", "array", "map")


def take(raw, at, size):
    if size < 0 or at + size > len(raw):
        raise Fault("a body that ends inside a value")
    return raw[at : at + size], at + size


def read_long(raw, at):
    value = shift = 0
    while True:
        if at >= len(raw) or shift > 63:
            raise Fault("a number that doesn't end")
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    if value >= 2**64:
        raise Fault("a number of more than 64 bits")
    return (value >> 1) ^ -(value & 1), at


def read_int(raw, at):
    value, at = read_long(raw, at)
    if not -(2**31) <= value < 2**31:
        raise Fault("an int of more than 32 bits")
    return value, at


def read_boolean(raw, at):
    one, at = take(raw, at, 1)
    if one not in (b"\0", b"\1"):
        raise Fault("a boolean that is neither")
    return one == b"\1", at


def read_bytes(raw, at):
    size, at = read_long(raw, at)
    return take(raw, at, size)


def read_string(raw, at):
    value, at = read_bytes(raw, at)
    try:
        return value.decode("utf-8", "strict"), at
    except UnicodeDecodeError:
        raise Fault("a string that isn't UTF-8") from None


def read_float(form, size):
    def read(raw, at):
        value, at = take(raw, at, size)
        return struct.unpack(form, value)[0], at

    return read


def pair(item, raw, at):
    key, at = read_string(raw, at)
    value, at = item(raw, at)
    return (key, value), at


def blocks(item):
    def read(raw, at):
        values = []
        while True:
            count, at = read_long(raw, at)
            if count == 0:
                return values, at
            if count < 0:
                count = -count
                _, at = read_long(raw, at)
            if count > len(raw):
                raise Fault("a block longer than the body")
            for _ in range(count):
                value, at = item(raw, at)
                values.append(value)

    return read


SIMPLE = {
    "null": lambda raw, at: (None, at),
    "boolean": read_boolean,
    "int": read_int,
    "long": read_long,
    "float": read_float("<f", 4),
    "double": read_float("<d", 8),
    "bytes": read_bytes,
    "string": read_string,
}


class Schemas:
    """The schemas of the repository, by type and version, for what isn't projected."""

    def __init__(self, folder):
        self.folder, self.known = folder, {}

    def get(self, event_type, version):
        key = (event_type, version)
        if key not in self.known:
            path = self.folder / event_type / f"{version}.avsc"
            if not path.is_file():
                raise Fault(f"there is no schema {event_type} {version} in {self.folder}")
            self.known[key] = Schema(path.read_text("utf-8"), self._common)
        return self.known[key]

    def _common(self, name):
        for path in self.folder.rglob(f"{name}.avsc"):
            return path.read_text("utf-8")
        return None


# ---------------------------------------------------------------- agreements


def read_agreements(folder, members):
    """The agreements of a folder by ID:VERSION, each with good signatures of both parties."""
    agreements = {}
    for path in sorted(folder.rglob("*.note")):
        note = path.read_text("utf-8")
        end = note.rfind("\n\n")
        if end < 0 or "\t" in note or "\r" in note:
            raise Fault(f"{path.name}: not a signed note")
        text, lines = note[: end + 1], note[end + 2 :].splitlines()
        agreement = tomllib.loads(text)
        if "revoke" in agreement:
            continue
        for party in (agreement["provider"], agreement["recipient"]):
            if not any(signed(text, line, party, members.get(party, {})) for line in lines):
                raise Fault(f"{path.name}: no good signature of {party}")
        agreements[f"{agreement['id']}:{agreement['version']}"] = agreement
    return agreements


def signed(text, line, party, keys):
    """Whether `line` is a good C2SP signature of `text` by an agreement key of `party`."""
    match = re.fullmatch(r"— (\S+) (\S+)", line)
    if not match or match[1] != party:
        return False
    raw = base64.b64decode(match[2], validate=True)
    for key in keys.values():
        start = hashlib.sha256(party.encode() + b"\n\x01" + key["raw"]).digest()[:4]
        if key.get("pirogue_use") == "agreement" and raw[:4] == start and not key.get("revoked"):
            try:
                verify(key, text.encode(), raw[4:])
                return True
            except Fault:
                continue
    return False


def grant_of(agreement, event_type, version):
    for grant in agreement["grant"]:
        if grant["type"] == event_type and version in grant["versions"]:
            return grant
    raise Fault("the agreement doesn't grant this type and version")


def let_through(fields, path):
    """Whether `path` is granted, below what is granted, or on the way to it."""
    return "*" in fields or any(
        path == f or path.startswith(f + ".") or f.startswith(path + ".") for f in fields
    )


def granted(fields, path):
    """Whether the value at `path` is granted."""
    return "*" in fields or any(path == f or path.startswith(f + ".") for f in fields)


def datum_paths(value, prefix=""):
    """The path of every field of a decoded datum."""
    if isinstance(value, list):
        for item in value:
            yield from datum_paths(item[1] if isinstance(item, tuple) else item, prefix)
    elif isinstance(value, dict):
        for name, inner in value.items():
            path = f"{prefix}.{name}" if prefix else name
            yield path
            yield from datum_paths(inner, path)


# ---------------------------------------------------------------- the demo's folder

SCHEMA_REFERENCE = re.compile(r"urn:pirogue:schema:([a-z0-9.]+):(\d+)(?::([0-9a-f]{32}))?")


class Hub:
    """What the hub's folder says: its name, the keys, the agreements; and what was sent."""

    def __init__(self, data, schemas):
        self.data = data
        self.schemas = Schemas(schemas)
        folder = data / "hub"
        self.name = tomllib.loads((folder / "hub.toml").read_text("utf-8"))["name"]
        self.keys = read_jwks(folder / "hub.jwks.json", "hub")
        self.members = {}
        for path in sorted((folder / "members").glob("*.jwks.json")):
            member = path.name.removesuffix(".jwks.json")
            self.members[member] = read_jwks(path, member)
        self.agreements = read_agreements(folder / "agreements", self.members)
        if not self.agreements:
            raise Fault("there is no agreement in hub/agreements")
        if not any(key.get("pirogue_use") == "delivery" for key in self.keys.values()):
            raise Fault("hub/hub.jwks.json has no delivery key")

    def sent(self):
        """Every jobseeker as it was served."""
        rows = []
        with (self.data / "sent.jsonl").open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                row = strict_json(line)
                if not isinstance(row, dict) or not all(
                    isinstance(row.get(name), str) for name in ("id", "numero", "nom", "prenoms", "dateNaissance")
                ):
                    raise Fault(f"sent.jsonl:{number}: not a jobseeker as the Boost-like server serves it")
                rows.append(row)
        return rows


class Verifier:
    """Verifies the inbox of one member."""

    def __init__(self, hub, recipient):
        self.hub, self.recipient = hub, recipient
        self.folder = hub.data / recipient / "received"
        self.faults, self.counts = [], Counter()
        self.projected = {}  # dataschema → its Schema, once it was published
        self.searched = []  # the texts in which nothing withheld may be
        self.named = []  # the headers in which nothing withheld may be
        self.records = {}  # type → what its records have to say, in order
        self.reasons = Counter()
        if recipient not in hub.members:
            raise Fault(f"{recipient} isn't a member: there is no hub/members/{recipient}.jwks.json")

    def fault(self, where, what):
        self.faults.append(f"{where}: {what}")
        if len(self.faults) >= MOST_FAULTS:
            raise Stop

    def run(self, sent, stopped):
        messages = self.read_messages()
        if not messages:
            self.fault(self.recipient, "no raw message was kept")
        expected = 1
        for sequence, where, raw, jws, body in messages:
            if sequence != expected:
                self.fault(where, f"sequence {sequence} where {expected} comes next")
            expected = sequence + 1
            try:
                self.message(sequence, raw, jws, body)
            except Fault as fault:
                self.fault(where, fault)
            except (KeyError, TypeError, ValueError, IndexError) as fault:
                self.fault(where, f"not of the form expected ({type(fault).__name__})")
        self.handled()
        self.notices()
        if sent is not None:
            self.arrived(sent, stopped)
            self.withheld(sent)

    def files(self, raw):
        """The files of raw messages, or of records, by type: those put aside first."""
        found = {}
        for path in self.folder.glob("*.jsonl"):
            match = re.fullmatch(r"(.+?)(\.raw)?(\.\d{6})?\.jsonl", path.name)
            if bool(match[2]) == raw:
                found.setdefault(match[1], []).append((match[3] or "~", path))
        return {name: [path for _, path in sorted(paths)] for name, paths in sorted(found.items())}

    def read_messages(self):
        """Every raw message with the signature that its sequence is signed by, in order."""
        messages = []
        for event_type, paths in self.files(raw=True).items():
            before = 0
            for where, line in numbered(paths):
                try:
                    raw = strict_json(line)
                    if set(raw) != {"properties", "headers", "body"}:
                        raise Fault("not properties, headers and body")
                    jws = Jws(raw["headers"]["cloudEvents_signature"])
                    body = base64.b64decode(raw["body"], validate=True)
                    text = jws.ce["sequence"]
                    if not re.fullmatch(r"\d{20}", text):
                        raise Fault("a sequence that isn't 20 digits")
                    if jws.ce.get("epoch") != "1":
                        raise Fault("an epoch that isn't 1")
                    if jws.ce["type"] != event_type:
                        raise Fault("a message in another type's file")
                    if int(text) <= before:
                        raise Fault("a sequence that doesn't rise in its file")
                    before = int(text)
                    messages.append((int(text), where, raw, jws, body))
                except Fault as fault:
                    self.fault(where, fault)
                except (KeyError, TypeError, ValueError) as fault:
                    self.fault(where, f"not a raw message ({type(fault).__name__})")
        messages.sort(key=lambda message: message[0])
        return messages

    def message(self, sequence, raw, jws, body):
        """All that WIRE.md section 3 tells a recipient to check, and the datum."""
        properties, headers, ce = raw["properties"], raw["headers"], jws.ce
        key = self.hub.keys.get(jws.kid)
        if key is None or key.get("pirogue_use") != "delivery" or key.get("revoked"):
            raise Fault("the kid isn't a delivery key of the hub")
        if any(jws.kid in keys for keys in self.hub.members.values()):
            raise Fault("the kid is a member's")
        jws.verify(key, body)
        self.counts["signatures of the hub"] += 1
        if jws.aud != self.recipient or ce.get("recipient") != self.recipient:
            raise Fault("aud or recipient is another's")
        self.attributes(properties, headers, ce)
        built = {
            "content_type": "application/avro",
            "delivery_mode": 2,
            "message_id": ce["id"],
            "type": ce["type"],
            "app_id": "hub",
            "user_id": "hub",
        }
        for name in built.keys() | properties.keys():
            if properties.get(name) != built.get(name):
                raise Fault(f"the property {name} isn't what was signed")
        if ce.get("specversion") != "1.0" or ce.get("datacontenttype") != "application/avro":
            raise Fault("specversion or datacontenttype")
        if not TIME.fullmatch(ce["time"]):
            raise Fault("time isn't of the form of WIRE.md section 0")
        reference = SCHEMA_REFERENCE.fullmatch(ce["dataschema"])
        if not reference or reference[1] != ce["type"]:
            raise Fault("dataschema isn't of the event's type")
        if ce["type"].startswith(HUB_TYPES):
            datum = self.of_the_hub(ce, reference, headers, body)
        else:
            datum = self.event(ce, reference, headers, body)
        record = {name: ce.get(name) for name in ("id", "source", "type", "subject", "time", "agreement")}
        self.records.setdefault(ce["type"], []).append({**record, "sequence": sequence, "data": plain(datum)})
        self.counts[ce["type"]] += 1

    @staticmethod
    def attributes(properties, headers, ce):
        """Headers are what was signed, both ways."""
        for name, value in headers.items():
            short = name.removeprefix("cloudEvents_")
            if short == name or short in UNSIGNED:
                continue
            if not isinstance(value, str) or ce.get(short) != value:
                raise Fault(f"the header {name} isn't what was signed")
        for short in ce:
            there = headers.get(f"cloudEvents_{short}")
            if short == "datacontenttype":
                there = properties.get("content_type")
            if there != ce[short]:
                raise Fault(f"{short} was signed and isn't in the headers")

    def of_the_hub(self, ce, reference, headers, body):
        if ce["source"] != f"/hub/{self.hub.name}" or "subject" in ce or "agreement" in ce:
            raise Fault("a message of the hub with another source, a subject or an agreement")
        if "origin" in ce or "cloudEvents_originsignature" in headers:
            raise Fault("a message of the hub with an origin")
        if set(ce) != OF_EVERY:
            raise Fault("a message of the hub with other attributes than those of WIRE.md")
        if reference[3] is not None:
            raise Fault("a message of the hub with a projected schema")
        datum = self.hub.schemas.get(ce["type"], int(reference[2])).decode(body)
        if ce["type"] == PUBLISHED:
            self.published(datum["reference"], datum["schema"])
        elif ce["type"] == REJECTED:
            if datum["reason"] not in REASONS or not datum["detail"]:
                raise Fault("a notice without a reason of WIRE.md section 2, or without a sentence")
            self.reasons[datum["reason"]] += 1
        self.searched.append(body)
        return datum

    def published(self, named, text):
        """A schema that events will be written with: a projected one is named by the
        hash of its text, a whole one is the repository's."""
        match = SCHEMA_REFERENCE.fullmatch(named)
        if not match or named in self.projected:
            raise Fault("a published schema without a reference, or published twice")
        schema = Schema(text)
        if match[3] is None:
            if schema.canonical != self.hub.schemas.get(match[1], int(match[2])).canonical:
                raise Fault("the published schema's text isn't that of its type and version")
        elif hashlib.sha256(text.encode()).hexdigest()[:32] != match[3]:
            raise Fault("the published schema's text isn't the one that its reference names")
        self.projected[named] = schema

    def event(self, ce, reference, headers, body):
        match = re.fullmatch(r"/([a-z][a-z0-9-]{1,31})/[a-z][a-z0-9-]{1,31}", ce["source"])
        if not match:
            raise Fault("source isn't /MEMBER/SYSTEM")
        member = match[1]
        agreement = self.hub.agreements.get(ce.get("agreement"))
        if agreement is None:
            raise Fault("the agreement isn't in hub/agreements")
        if agreement["provider"] != member or agreement["recipient"] != self.recipient:
            raise Fault("the agreement is of other parties")
        grant = grant_of(agreement, ce["type"], int(reference[2]))
        fields = grant["fields"]
        if ce["dataschema"] not in self.projected:
            raise Fault("a schema that wasn't published before")
        schema = self.projected[ce["dataschema"]]
        if reference[3] is None:
            if "*" not in fields:
                raise Fault("a whole body where the agreement grants some fields")
        else:
            for path in sorted(schema.paths):
                if not let_through(fields, path):
                    raise Fault(f"the projected schema has {path}, which isn't granted")
            self.searched.append(body)
            self.named.append(json.dumps({**headers, "cloudEvents_signature": ""}, ensure_ascii=False).encode())
        datum = schema.decode(body)
        for path in datum_paths(datum):
            if not let_through(fields, path):
                raise Fault(f"the datum has {path}, which isn't granted")
        whole = self.hub.schemas.get(ce["type"], int(reference[2]))
        self.subject(ce, grant, whole.subjects)
        self.origin(member, ce, grant, headers, body)
        return datum

    @staticmethod
    def subject(ce, grant, kinds):
        kind, _, local = ce.get("subject", "").partition("/")
        if not re.fullmatch(r"[a-z]{1,32}", kind) or not re.fullmatch(r"[A-Za-z0-9._~-]{1,128}", local):
            raise Fault("subject isn't KIND/LOCAL-ID")
        pseudonym = bool(re.fullmatch(r"~[A-Za-z0-9_-]+", local))
        mode = grant.get("subject", "pseudonym")
        # A kind that the schema doesn't name is taken for a person's.
        personal = kinds.get(kind, {}).get("personal", True)
        if personal and mode == "pseudonym" and not pseudonym:
            raise Fault("the subject isn't a pseudonym")
        if local.startswith("~") and (not personal or mode == "publisher"):
            raise Fault("the subject is a pseudonym where the publisher's was agreed on")

    def origin(self, member, ce, grant, headers, body):
        text = headers.get("cloudEvents_originsignature")
        carried = "*" in grant["fields"] and grant.get("subject", "pseudonym") == "publisher"
        if set(ce) != OF_AN_EVENT | ({"origin"} if carried else set()):
            raise Fault("an event with other attributes than those of WIRE.md")
        if not carried:
            if text is not None:
                raise Fault("an origin where the body isn't the publisher's")
            if "." in ce["time"]:
                raise Fault("a time that isn't cut to the second")
            return
        if text is None or ce.get("origin") != b64url(hashlib.sha256(text.encode()).digest()):
            raise Fault("origin isn't the digest of originsignature")
        jws = Jws(text)
        key = self.hub.members.get(member, {}).get(jws.kid)
        if key is None or key.get("pirogue_use") != "event" or key.get("revoked"):
            raise Fault("originsignature isn't by an event key of its publisher")
        jws.verify(key, body)
        if jws.aud != self.hub.name:
            raise Fault("the publisher signed for another hub")
        for name in ("specversion", "source", "type", "id", "subject", "time", "dataschema", "datacontenttype"):
            if jws.ce.get(name) != ce.get(name):
                raise Fault(f"{name} isn't the publisher's")
        self.counts["signatures of publishers"] += 1

    def handled(self):
        """Each record that was handed on is what its message says, in the same order."""
        files = self.files(raw=False)
        for event_type in sorted(self.records.keys() | files.keys()):
            said = self.records.get(event_type, [])
            lines = list(numbered(files.get(event_type, [])))
            if len(lines) != len(said):
                self.fault(event_type, f"{len(lines)} records were handled and {len(said)} messages hold")
                continue
            for (where, line), record in zip(lines, said):
                try:
                    same = strict_json(line) == record
                except Fault:
                    same = False
                if not same:
                    self.fault(where, "the record isn't what its message says")
        self.counts["records handed on"] = sum(len(said) for said in self.records.values())

    def notices(self):
        """The demo's publisher is told of one bad message for each reason."""
        if not any(self.recipient == agreement["provider"] for agreement in self.hub.agreements.values()):
            return
        for reason in REASONS:
            if self.reasons[reason] != 1:
                self.fault(REJECTED, f"{self.reasons[reason]} notices of {reason} where the demo earns 1")

    # ------------------------------------------------------------ what was sent

    def fields(self):
        """The fields of jobseekers that are granted to the recipient; none where none are."""
        return {
            field
            for agreement in self.hub.agreements.values()
            if agreement["recipient"] == self.recipient
            for grant in agreement["grant"]
            if grant["type"] == JOBSEEKER
            for field in grant["fields"]
        }

    def arrived(self, rows, stopped):
        """Every jobseeker that was served arrived, once, in the order served."""
        fields = self.fields()
        got = self.records.get(JOBSEEKER, [])
        if not fields:
            if got:
                self.fault(JOBSEEKER, "jobseekers where no agreement grants any")
            return
        if len(got) > len(rows) or (len(got) < len(rows) and not stopped):
            self.fault("sent.jsonl", f"{len(rows)} jobseekers were served and {len(got)} arrived")
            return
        compared = 0
        for number, (row, record) in enumerate(zip(rows, got), 1):
            person = record["data"].get("person", {})
            for name, value in identity(row).items():
                if granted(fields, f"person.{name}"):
                    compared += 1
                    if person.get(name) != value:
                        self.fault(f"sent.jsonl:{number}", f"another person.{name} arrived in its place")
        self.counts["values compared with what was served"] = compared

    def withheld(self, rows):
        """Looks for the values that no grant lets through in every message."""
        fields = self.fields()
        if "*" in fields:
            return
        held, through, own = set(), set(), set()
        for row in rows:
            for path, text in values(row):
                if path and granted(fields, path):
                    through.add(text)
                else:
                    keep(held, text)
            # The publisher's own names for a person leave in no header either.
            for name in ("id", "numero", "courriel"):
                keep(own, row.get(name) or "")
        # A name that is withheld of one person may be granted of another.
        shared = find_any(held, "\n".join(through).encode())
        looked_for = held - shared
        self.counts["withheld values looked for"] = len(looked_for)
        self.counts["withheld values that others' granted ones hold too"] = len(shared)
        found = find_any(looked_for, BETWEEN.join(self.searched)) | find_any(own, BETWEEN.join(self.named))
        for _ in found:
            self.fault("sent.jsonl", "a value that no grant lets through is in a message")


BETWEEN = b"\x00\xff\x00"


def numbered(paths):
    """The lines of files with their places."""
    for path in paths:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield f"{path.name}:{number}", line


def plain(datum):
    """A datum as JSON has it."""
    if isinstance(datum, dict):
        return {name: plain(value) for name, value in datum.items()}
    if isinstance(datum, list):
        if any(isinstance(item, tuple) for item in datum):
            return {name: plain(value) for name, value in datum}
        return [plain(item) for item in datum]
    return datum


def spaced(text):
    return " ".join(text.split())


def identity(row):
    """What the harmonised person says, of a row of the Boost-like server."""
    date = row["dateNaissance"]
    if "/" in date:
        date = "-".join(reversed(date.split("/")))
    while date.endswith("-00"):
        date = date[:-3]
    return {"family_name": spaced(row["nom"]), "given_names": row["prenoms"].split(), "birthdate": date}


def values(row):
    """The values of a row by which a person is known, each with the path that it is
    harmonised to; none where no event has it."""
    yield "person.family_name", spaced(row["nom"])
    for name in row["prenoms"].split():
        yield "person.given_names", name
    if row.get("nomUsage"):
        yield "person.preferred_username", spaced(row["nomUsage"])
    for other in row.get("autresNoms") or []:
        yield "person.other_names", spaced(other["valeur"])
    for name, path in [("courriel", "contact.email"), ("adresse", "contact.address")]:
        for text in (row.get(name) or "").splitlines():
            yield path, spaced(text)
    if row.get("telephone"):
        digits = re.sub(r"\D", "", row["telephone"])
        yield "contact.phone", "+" + digits if len(digits) > 6 else "+687" + digits
        yield None, row["telephone"]
    yield None, row["id"]
    yield None, row["numero"]
    if row.get("row_hash"):
        yield None, row["row_hash"]


SHORTEST = 6


def keep(withheld, text):
    """Keeps what is long enough not to be met by chance: 6 bytes, no bare number below 8."""
    raw = text.encode()
    if len(raw) >= SHORTEST and not (text.isdigit() and len(raw) < 8):
        withheld.add(raw)


def find_any(needles, hay):
    """The needles that are in `hay`: one pass, by their first bytes."""
    starts = {}
    for needle in needles:
        starts.setdefault(needle[:SHORTEST], []).append(needle)
    found = set()
    for at in range(len(hay) - SHORTEST + 1):
        for needle in starts.get(hay[at : at + SHORTEST], ()):
            if hay.startswith(needle, at):
                found.add(needle)
    return found


def main(arguments):
    parser = argparse.ArgumentParser(description="Re-verifies what the members of a demo were sent.")
    parser.add_argument("data", type=Path, help="the folder that `pirogue demo --data` kept")
    parser.add_argument(
        "--recipient", action="append", metavar="MEMBER", help="only this member's inbox (may be given again)"
    )
    parser.add_argument("--schemas", type=Path, default=Path(__file__).resolve().parent.parent / "schemas")
    parser.add_argument(
        "--stopped", action="store_true", help="the demo was stopped while it went on: the last may be missing"
    )
    parser.add_argument("--without-sent", action="store_true", help="do without sent.jsonl")
    options = parser.parse_args(arguments)
    try:
        hub = Hub(options.data, options.schemas)
        sent = None if options.without_sent else hub.sent()
        verifiers = [Verifier(hub, member) for member in options.recipient or sorted(hub.members)]
    except FileNotFoundError as fault:
        print(f"{fault.filename} isn't there: give the folder of `pirogue demo --data DIR`", file=sys.stderr)
        return 2
    except Fault as fault:
        print(f"FAILED  {fault}")
        return 1
    except (KeyError, TypeError, ValueError) as fault:
        print(f"FAILED  the folder isn't of the form expected: {fault!r}")
        return 1
    status = 0
    for verifier in verifiers:
        try:
            verifier.run(sent, options.stopped)
        except Stop:
            pass
        print(verifier.recipient)
        for fault in verifier.faults:
            print(f"FAILED  {fault}")
        for name, count in sorted(verifier.counts.items()):
            print(f"{count:>8}  {name}")
        if verifier.faults:
            more = " (and stopped there)" if len(verifier.faults) >= MOST_FAULTS else ""
            print(f"{len(verifier.faults)} faults{more}")
            status = 1
    if status == 0:
        print("Every raw message holds.")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
