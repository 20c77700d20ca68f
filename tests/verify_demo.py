#!/usr/bin/env python3
"""Re-verifies what a recipient of `pirogue demo --data DIR` was sent.

It shares nothing with Pirogue but WIRE.md: its own Avro decoder, its own JWS
and signed-note parser; Ed25519 is OpenSSL's, by the package `cryptography`
(38 or later). Python 3.11 or later.

    python3 tests/verify_demo.py DIR [--recipient gouvernement] [--schemas schemas]

Exit status: 0 when everything holds, 1 when something doesn't (the first 20
faults are printed), 2 when DIR isn't the folder of a demo.

DIR/sent.jsonl, where it is there, has one record a line as it was sent: either
{"type": TYPE, "record": {…harmonised…}} or a row of the Boost-like server. The
values that no grant lets through are then looked for in every projected body.
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


def read_jwks(path):
    """The keys of a JWKS by kid; checks that each kid is the thumbprint (RFC 7638)."""
    keys = {}
    for jwk in strict_json(path.read_text("utf-8"))["keys"]:
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
        self.root = self._resolve(strict_json(text), "")
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
                {"name": f["name"], "type": self._resolve(f["type"], inner), "pii": f.get("pii")}
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
                yield path, field["pii"]
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


class Verifier:
    def __init__(self, data, recipient, schemas):
        self.data, self.recipient = data, recipient
        self.schemas = Schemas(schemas)
        self.faults, self.counts = [], Counter()
        self.projected = {}  # dataschema → (Schema, sequence that published it)
        self.bodies = []  # of projected events
        self.auds = set()
        hub = data / "hub"
        self.hub = read_jwks(hub / "hub.jwks.json")
        self.members = {
            path.name.removesuffix(".jwks.json"): read_jwks(path)
            for path in sorted((hub / "members").glob("*.jwks.json"))
        }
        self.agreements = read_agreements(hub / "agreements", self.members)
        if not self.agreements:
            raise Fault("there is no agreement in hub/agreements")
        if not any(key.get("pirogue_use") == "delivery" for key in self.hub.values()):
            raise Fault("hub/hub.jwks.json has no delivery key")

    def fault(self, where, what):
        self.faults.append(f"{where}: {what}")
        if len(self.faults) >= MOST_FAULTS:
            raise Stop

    def run(self):
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
        if len(self.auds) > 1:
            self.fault("originsignature", "publishers signed for more than one hub")
        self.handled()
        self.sent()

    def read_messages(self):
        """Every raw message with the signature that its sequence is signed by, in order."""
        folder = self.data / self.recipient / "received"
        messages = []
        for path in sorted(folder.glob("*.jsonl")):
            if ".raw." not in path.name:
                continue
            before = 0
            with path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    where = f"{path.name}:{number}"
                    try:
                        raw = strict_json(line)
                        jws = Jws(raw["headers"]["cloudEvents_signature"])
                        body = base64.b64decode(raw["body"], validate=True)
                        text = jws.ce["sequence"]
                        if not re.fullmatch(r"\d{20}", text):
                            raise Fault("a sequence that isn't 20 digits")
                        if jws.ce.get("epoch") != "1":
                            raise Fault("an epoch that isn't 1")
                        if not path.name.startswith(jws.ce["type"] + "."):
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
        key = self.hub.get(jws.kid)
        if key is None or key.get("pirogue_use") != "delivery" or key.get("revoked"):
            raise Fault("the kid isn't a delivery key of the hub")
        if any(jws.kid in keys for keys in self.members.values()):
            raise Fault("the kid is a member's")
        jws.verify(key, body)
        self.counts["signatures of the hub"] += 1
        if jws.aud != self.recipient or ce.get("recipient") != self.recipient:
            raise Fault("aud or recipient is another's")
        self.attributes(properties, headers, ce)
        for name, value in [
            ("content_type", "application/avro"),
            ("delivery_mode", 2),
            ("message_id", ce["id"]),
            ("type", ce["type"]),
            ("app_id", "hub"),
            ("user_id", "hub"),
        ]:
            if properties.get(name) != value:
                raise Fault(f"the property {name} isn't what was signed")
        if raw["routing_key"] != f"{self.recipient}.{ce['type']}":
            raise Fault("the routing key isn't RECIPIENT.TYPE")
        if ce.get("specversion") != "1.0" or ce.get("datacontenttype") != "application/avro":
            raise Fault("specversion or datacontenttype")
        reference = SCHEMA_REFERENCE.fullmatch(ce["dataschema"])
        if not reference or reference[1] != ce["type"]:
            raise Fault("dataschema isn't of the event's type")
        if ce["type"].startswith(HUB_TYPES):
            self.of_the_hub(sequence, ce, reference, headers, body)
        else:
            self.event(sequence, ce, reference, headers, body)
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

    def of_the_hub(self, sequence, ce, reference, headers, body):
        if not re.fullmatch(r"/hub/[a-z][a-z0-9-]*", ce["source"]) or "subject" in ce or "agreement" in ce:
            raise Fault("a message of the hub with another source, a subject or an agreement")
        if "origin" in ce or "cloudEvents_originsignature" in headers:
            raise Fault("a message of the hub with an origin")
        datum = self.schemas.get(ce["type"], int(reference[2])).decode(body)
        if ce["type"] == "nc.hub.schema.published":
            named, text = datum["reference"], datum["schema"]
            match = SCHEMA_REFERENCE.fullmatch(named)
            if not match or hashlib.sha256(text.encode()).hexdigest()[:32] != match[3]:
                raise Fault("the published schema's text isn't the one that its reference names")
            self.projected[named] = (Schema(text), sequence)

    def event(self, sequence, ce, reference, headers, body):
        member = ce["source"].split("/")[1]
        agreement = self.agreements.get(ce.get("agreement"))
        if agreement is None:
            raise Fault("the agreement isn't in hub/agreements")
        if agreement["provider"] != member or agreement["recipient"] != self.recipient:
            raise Fault("the agreement is of other parties")
        grant = grant_of(agreement, ce["type"], int(reference[2]))
        fields = grant["fields"]
        whole = self.schemas.get(ce["type"], int(reference[2]))
        if reference[3] is None:
            if "*" not in fields:
                raise Fault("a whole body where the agreement grants some fields")
            schema = whole
        else:
            if ce["dataschema"] not in self.projected:
                raise Fault("a projected schema that wasn't published before")
            schema, _ = self.projected[ce["dataschema"]]
            for path, _ in schema.paths:
                if not let_through(fields, path):
                    raise Fault(f"the projected schema has {path}, which isn't granted")
            self.bodies.append(body)
        datum = schema.decode(body)
        for path in datum_paths(datum):
            if not let_through(fields, path):
                raise Fault(f"the datum has {path}, which isn't granted")
        self.subject(ce, grant)
        self.origin(member, ce, grant, headers, body)

    @staticmethod
    def subject(ce, grant):
        kind, _, local = ce.get("subject", "").partition("/")
        if kind == "person" and grant.get("subject", "pseudonym") == "pseudonym":
            if not re.fullmatch(r"~[A-Za-z0-9_-]+", local):
                raise Fault("the subject isn't a pseudonym")

    def origin(self, member, ce, grant, headers, body):
        text = headers.get("cloudEvents_originsignature")
        carried = "*" in grant["fields"] and grant.get("subject", "pseudonym") == "publisher"
        if not carried:
            if text is not None or "origin" in ce:
                raise Fault("an origin where the body isn't the publisher's")
            return
        if text is None or ce.get("origin") != b64url(hashlib.sha256(text.encode()).digest()):
            raise Fault("origin isn't the digest of originsignature")
        jws = Jws(text)
        key = self.members.get(member, {}).get(jws.kid)
        if key is None or key.get("pirogue_use") != "event" or key.get("revoked"):
            raise Fault("originsignature isn't by an event key of its publisher")
        jws.verify(key, body)
        for name in ("source", "type", "id", "subject", "time", "dataschema", "datacontenttype"):
            if jws.ce.get(name) != ce.get(name):
                raise Fault(f"{name} isn't the publisher's")
        self.auds.add(jws.aud)
        self.counts["signatures of publishers"] += 1

    def handled(self):
        """As many records were handled as messages were kept, for each type."""
        folder = self.data / self.recipient / "received"
        lines = Counter()
        for path in folder.glob("*.jsonl"):
            if ".raw." not in path.name:
                with path.open("rb") as file:
                    lines[re.sub(r"(\.\d+)*\.jsonl$", "", path.name)] += sum(1 for _ in file)
        for name, count in lines.items():
            if count != self.counts[name]:
                self.fault(name, f"{count} records were handled and {self.counts[name]} messages kept")

    # ------------------------------------------------------------ what was withheld

    def sent(self):
        """Looks for the withheld values of what was sent in every projected body."""
        path = self.data / "sent.jsonl"
        if not path.is_file():
            return
        withheld, through = set(), set()
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                event_type = record.get("type")
                if isinstance(record.get("record"), dict) and isinstance(event_type, str):
                    self.harmonised(event_type, record["record"], withheld, through)
                elif "dateNaissance" in record:
                    self.boost(record, withheld, through)
        # A name that is withheld of one person may be granted of another.
        shared = find_any(withheld, "\n".join(through).encode())
        searched = withheld - shared
        self.counts["withheld values looked for"] = len(searched)
        self.counts["withheld values that others' granted ones hold too"] = len(shared)
        for _ in find_any(searched, b"\x00\xff\x00".join(self.bodies)):
            self.fault("sent.jsonl", "a value that no grant lets through is in a projected body")

    def fields_of(self, event_type):
        fields = set()
        for agreement in self.agreements.values():
            if agreement["recipient"] == self.recipient:
                for grant in agreement["grant"]:
                    if grant["type"] == event_type:
                        fields.update(grant["fields"])
        return fields

    def harmonised(self, event_type, record, withheld, through):
        fields = self.fields_of(event_type)
        if "*" in fields:
            return
        pii = dict(self.schemas.get(event_type, 1).paths)
        for path, text in texts(record):
            if granted(fields, path):
                through.add(text)
            elif {pii.get(path), pii.get(path.split(".")[0])} & {"identity", "contact"}:
                keep(withheld, text)

    def boost(self, row, withheld, through):
        fields = self.fields_of("nc.employment.jobseeker.registered")
        if "*" in fields:
            return

        def sort(path, text):
            if granted(fields, path):
                through.add(text)
            else:
                keep(withheld, text)

        sort("person.family_name", row["nom"])
        for name in row["prenoms"].split():
            sort("person.given_names", name)
        if row.get("nomUsage"):
            sort("person.preferred_username", row["nomUsage"])
        for other in row.get("autresNoms") or []:
            sort("person.other_names", other["valeur"])
        for name, path in [("courriel", "contact.email"), ("adresse", "contact.address")]:
            for text in (row.get(name) or "").splitlines():
                sort(path, text)
        if row.get("telephone"):
            digits = re.sub(r"\D", "", row["telephone"])
            sort("contact.phone", "+" + digits if len(digits) > 6 else "+687" + digits)
        # The publisher's own identifiers never leave with a pseudonym.
        keep(withheld, row["id"])
        keep(withheld, row["numero"])


SHORTEST = 6


def keep(withheld, text):
    """Keeps what is long enough not to be met by chance: 6 bytes, no bare number below 8."""
    raw = text.encode()
    if len(raw) >= SHORTEST and not (text.isdigit() and len(raw) < 8):
        withheld.add(raw)


def texts(value, prefix=""):
    """Every text of a record with its path."""
    if isinstance(value, str):
        yield prefix, value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, prefix)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from texts(inner, f"{prefix}.{name}" if prefix else name)


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
    parser = argparse.ArgumentParser(description="Re-verifies what the demo's recipient was sent.")
    parser.add_argument("data", type=Path, help="the folder that `pirogue demo --data` kept")
    parser.add_argument("--recipient", default="gouvernement")
    parser.add_argument("--schemas", type=Path, default=Path(__file__).resolve().parent.parent / "schemas")
    options = parser.parse_args(arguments)
    try:
        verifier = Verifier(options.data, options.recipient, options.schemas)
    except FileNotFoundError as fault:
        print(f"{fault.filename} isn't there: give the folder of `pirogue demo --data DIR`", file=sys.stderr)
        return 2
    except Fault as fault:
        print(f"FAILED  {fault}")
        return 1
    except (KeyError, TypeError, ValueError) as fault:
        print(f"FAILED  the hub's folder isn't of the form expected: {fault!r}")
        return 1
    try:
        verifier.run()
    except Stop:
        pass
    for fault in verifier.faults:
        print(f"FAILED  {fault}")
    for name, count in sorted(verifier.counts.items()):
        print(f"{count:>8}  {name}")
    if verifier.faults:
        more = " (and stopped there)" if len(verifier.faults) >= MOST_FAULTS else ""
        print(f"{len(verifier.faults)} faults{more}")
        return 1
    print("Every raw message holds.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
