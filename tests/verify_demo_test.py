#!/usr/bin/env python3
"""Tests of verify_demo.py itself: a small folder that holds, then each way in
which one may not. A verifier that can't fail verifies nothing."""

import base64
import contextlib
import hashlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import verify_demo as v  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402

PERSON = "nc.employment.jobseeker.registered"
OFFER = "nc.employment.offer.published"
PUBLISHED = "nc.hub.schema.published"


def record(name, *fields):
    return {"type": "record", "name": name, "fields": list(fields)}


def text_field(name, **more):
    return {"name": name, "type": "string", **more}


NAMES = {"name": "given_names", "type": {"type": "array", "items": "string"}, "pii": "identity"}
USAGE = {"name": "preferred_username", "type": ["null", "string"], "pii": "identity"}
FAMILY = text_field("family_name", pii="identity")
SCHEMAS = {
    PERSON: record(PERSON, {"name": "person", "type": "nc.person.Person"}, text_field("status")),
    OFFER: record(OFFER, text_field("title")),
    PUBLISHED: record(PUBLISHED, text_field("reference"), text_field("schema")),
}
COMMON = {"nc.person.Person": record("nc.person.Person", NAMES, FAMILY, USAGE)}
PROJECTED = record(PERSON, {"name": "person", "type": record("nc.person.Person", FAMILY)}, text_field("status"))
AGREEMENT = f"""id = "emploi"
version = 1
provider = "province-sud"
recipient = "gouvernement"

[[grant]]
type = "{PERSON}"
versions = [1]
fields = ["person.family_name", "status"]

[[grant]]
type = "{OFFER}"
versions = [1]
fields = ["*"]
subject = "publisher"
"""


class Key:
    def __init__(self, seed, use, member=None):
        self.private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        form = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.raw = self.private.public_key().public_bytes(*form)
        x = v.b64url(self.raw)
        text = '{"crv":"Ed25519","kty":"OKP","x":"%s"}' % x
        self.kid = v.b64url(hashlib.sha256(text.encode()).digest())
        self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": "sig", "pirogue_use": use}
        if member:
            self.jwk["pirogue_member"] = member

    def jws(self, aud, ce, body):
        header = {"alg": "EdDSA", "b64": False, "crit": ["b64"], "kid": self.kid, "aud": aud, "ce": ce}
        protected = v.b64url(json.dumps(header).encode())
        return f"{protected}..{v.b64url(self.private.sign(protected.encode() + b'.' + body))}"

    def note(self, name, text):
        start = hashlib.sha256(name.encode() + b"\n\x01" + self.raw).digest()[:4]
        return f"— {name} {base64.b64encode(start + self.private.sign(text.encode())).decode()}\n"


HUB = Key(1, "delivery")
SUD, SUD_PAPER = Key(2, "event", "province-sud"), Key(3, "agreement", "province-sud")
GOV, GOV_PAPER = Key(4, "event", "gouvernement"), Key(5, "agreement", "gouvernement")


def number(n):
    n, out = (n << 1) ^ (n >> 63), b""
    while n > 0x7F:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


def string(text):
    return number(len(text.encode())) + text.encode()


def body(schema, *parts):
    return b"\xc3\x01" + schema.fingerprint + b"".join(parts)


class Folder:
    """A demo's folder of three messages: a schema, a jobseeker, an offer."""

    def __init__(self, root, family="Poithéa", extra=b"", projected=PROJECTED, key=HUB, notes=None):
        self.root, self.lines = root, {}
        self.schemas = root / "schemas"
        for name, schema in SCHEMAS.items():
            self.write(f"schemas/{name}/1.avsc", json.dumps(schema))
        for name, schema in COMMON.items():
            self.write(f"schemas/common/{name}.avsc", json.dumps(schema))
        known = v.Schemas(self.schemas)
        self.write("hub/hub.jwks.json", json.dumps({"keys": [HUB.jwk]}))
        self.write("hub/members/province-sud.jwks.json", json.dumps({"keys": [SUD.jwk, SUD_PAPER.jwk]}))
        self.write("hub/members/gouvernement.jwks.json", json.dumps({"keys": [GOV.jwk, GOV_PAPER.jwk]}))
        signatures = SUD_PAPER.note("province-sud", AGREEMENT) + GOV_PAPER.note("gouvernement", AGREEMENT)
        self.write("hub/agreements/emploi.1.note", AGREEMENT + "\n" + (signatures if notes is None else notes))

        text = json.dumps(projected)
        reference = f"urn:pirogue:schema:{PERSON}:1:{hashlib.sha256(text.encode()).hexdigest()[:32]}"
        published = body(known.get(PUBLISHED, 1), string(reference), string(text))
        self.add(1, PUBLISHED, published, source="/hub/nc", dataschema=f"urn:pirogue:schema:{PUBLISHED}:1")
        agreed = {"agreement": "emploi:1", "source": "/province-sud/boost"}
        person = body(v.Schema(text), string(family), string("active"), extra)
        self.add(2, PERSON, person, key=key, subject="person/~abc", dataschema=reference, **agreed)
        offer = body(known.get(OFFER, 1), string("Cuisinier"))
        theirs = {
            "specversion": "1.0",
            "id": "e3",
            "source": "/province-sud/boost",
            "type": OFFER,
            "subject": "offer/1",
            "time": "2026-02-03T00:00:00Z",
            "datacontenttype": "application/avro",
            "dataschema": f"urn:pirogue:schema:{OFFER}:1",
        }
        origin = SUD.jws("nc", theirs, offer)
        digest = v.b64url(hashlib.sha256(origin.encode()).digest())
        named = {"subject": "offer/1", "dataschema": theirs["dataschema"], "origin": digest, **agreed}
        self.add(3, OFFER, offer, originsignature=origin, **named)

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def add(self, n, event_type, raw, key=HUB, aud="gouvernement", originsignature=None, epoch="1", **more):
        ce = {
            "specversion": "1.0",
            "id": f"e{n}",
            "type": event_type,
            "time": "2026-02-03T00:00:00Z",
            "datacontenttype": "application/avro",
            "recipient": "gouvernement",
            "epoch": epoch,
            "sequence": f"{n:020}",
            **more,
        }
        headers = {f"cloudEvents_{k}": value for k, value in ce.items() if k != "datacontenttype"}
        headers["cloudEvents_signature"] = key.jws(aud, ce, raw)
        if originsignature:
            headers["cloudEvents_originsignature"] = originsignature
        properties = {
            "content_type": "application/avro",
            "delivery_mode": 2,
            "message_id": ce["id"],
            "type": event_type,
            "app_id": "hub",
            "user_id": "hub",
        }
        line = {"routing_key": f"gouvernement.{event_type}", "properties": properties, "headers": headers}
        line["body"] = base64.b64encode(raw).decode()
        self.lines.setdefault(event_type, []).append(line)

    def run(self):
        for event_type, lines in self.lines.items():
            text = "".join(json.dumps(line) + "\n" for line in lines)
            self.write(f"gouvernement/received/{event_type}.raw.jsonl", text)
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = v.main([str(self.root), "--schemas", str(self.schemas)])
        return status, out.getvalue()


class VerifierTest(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.root = Path(self.temporary.name)

    def folder(self, **how):
        return Folder(self.root, **how)

    def fails(self, folder, phrase):
        status, out = folder.run()
        self.assertEqual(status, 1, out)
        self.assertIn(phrase, out)

    def test_a_good_folder_holds(self):
        status, out = self.folder().run()
        self.assertEqual(status, 0, out)
        self.assertIn("3  signatures of the hub", out)
        self.assertIn("1  signatures of publishers", out)

    def test_a_folder_that_isnt_a_demos_is_said_so(self):
        with contextlib.redirect_stderr(io.StringIO()) as err:
            self.assertEqual(v.main([str(self.root)]), 2)
        self.assertIn("isn't there", err.getvalue())

    def test_the_published_vectors_of_crc_64_avro(self):
        for name, crc in [("string", "8f014872634503c7"), ("int", "7275d51a3f395c8f"), ("null", "63dd24e7cc258f8a")]:
            self.assertEqual(v.Schema(f'{{"type":"{name}"}}').fingerprint[::-1].hex(), crc)

    def test_a_changed_body(self):
        folder = self.folder()
        line = folder.lines[PERSON][0]
        raw = bytearray(base64.b64decode(line["body"]))
        raw[-1] ^= 1
        line["body"] = base64.b64encode(raw).decode()
        self.fails(folder, "isn't of these bytes")

    def test_a_changed_header(self):
        folder = self.folder()
        folder.lines[PERSON][0]["headers"]["cloudEvents_subject"] = "person/~abd"
        self.fails(folder, "cloudEvents_subject isn't what was signed")

    def test_a_header_that_wasnt_signed(self):
        folder = self.folder()
        folder.lines[PERSON][0]["headers"]["cloudEvents_priority"] = "1"
        self.fails(folder, "cloudEvents_priority isn't what was signed")

    def test_an_attribute_without_its_header(self):
        folder = self.folder()
        del folder.lines[PERSON][0]["headers"]["cloudEvents_time"]
        self.fails(folder, "time was signed and isn't in the headers")

    def test_a_changed_property(self):
        for name, value in [("message_id", "x"), ("type", OFFER), ("user_id", "gouvernement"), ("delivery_mode", 1)]:
            folder = self.folder()
            folder.lines[PERSON][0]["properties"][name] = value
            self.fails(folder, f"the property {name}")

    def test_another_routing_key(self):
        folder = self.folder()
        folder.lines[PERSON][0]["routing_key"] = f"province-nord.{PERSON}"
        self.fails(folder, "routing key")

    def test_a_gap(self):
        folder = self.folder()
        del folder.lines[PERSON]
        self.fails(folder, "sequence 3 where 2 comes next")

    def test_a_repeat(self):
        folder = self.folder()
        folder.lines[PERSON] *= 2
        self.fails(folder, "doesn't rise")

    def test_another_epoch_and_another_audience(self):
        folder = self.folder()
        folder.add(4, PUBLISHED, b"", epoch="2", source="/hub/nc", dataschema=f"urn:pirogue:schema:{PUBLISHED}:1")
        self.fails(folder, "epoch that isn't 1")
        folder = self.folder()
        folder.add(4, PUBLISHED, b"", aud="cafat", source="/hub/nc", dataschema=f"urn:pirogue:schema:{PUBLISHED}:1")
        self.fails(folder, "aud or recipient is another's")

    def test_a_delivery_signed_by_a_member(self):
        self.fails(self.folder(key=SUD), "isn't a delivery key of the hub")

    def test_a_member_that_has_the_hubs_key(self):
        folder = self.folder()
        folder.write("hub/members/cafat.jwks.json", json.dumps({"keys": [{**HUB.jwk, "pirogue_use": "event"}]}))
        self.fails(folder, "the kid is a member's")

    def test_a_key_whose_kid_isnt_its_thumbprint(self):
        folder = self.folder()
        folder.write("hub/hub.jwks.json", json.dumps({"keys": [{**HUB.jwk, "kid": SUD.kid}]}))
        self.fails(folder, "isn't the key's thumbprint")

    def test_a_datum_that_goes_on(self):
        self.fails(self.folder(extra=b"\0"), "goes on after its datum")

    def test_a_projected_schema_that_lets_a_field_through(self):
        person = record("nc.person.Person", FAMILY, USAGE)
        projected = record(PERSON, {"name": "person", "type": person}, text_field("status"))
        folder = self.folder(projected=projected, extra=b"\0")
        self.fails(folder, "person.preferred_username, which isn't granted")

    def test_a_projected_schema_that_wasnt_published(self):
        folder = self.folder()
        folder.lines[PUBLISHED] = []
        self.fails(folder, "wasn't published before")

    def test_an_origin_that_isnt_the_publishers(self):
        folder = self.folder()
        headers = folder.lines[OFFER][0]["headers"]
        headers["cloudEvents_originsignature"] = GOV.jws("nc", {"id": "e3"}, b"")
        self.fails(folder, "isn't the digest of originsignature")

    def test_an_agreement_without_the_recipients_signature(self):
        folder = self.folder(notes=SUD_PAPER.note("province-sud", AGREEMENT))
        self.fails(folder, "no good signature of gouvernement")

    def test_a_withheld_value_in_a_granted_field(self):
        row = {"person": {"given_names": ["Célestin"], "family_name": "Poithéa", "preferred_username": "N’Godré"}}
        folder = self.folder()
        folder.write("sent.jsonl", json.dumps({"type": PERSON, "record": row}))
        status, out = folder.run()
        self.assertEqual(status, 0, out)
        self.assertIn("2  withheld values looked for", out)
        folder = self.folder(family="Poithéa N’Godré")
        self.fails(folder, "no grant lets through is in a projected body")

    def test_a_row_as_boost_serves_it_is_read_too(self):
        row = {"id": "0" * 32, "numero": "DE-2019-000001", "dateNaissance": "1950", "nom": "POITHÉA"}
        row |= {"prenoms": "Élie", "telephone": "75.12.34", "courriel": "elie.p@example.org", "adresse": None}
        for leak in ["+687751234", "elie.p@example.org", "0" * 32]:
            folder = self.folder(family=f"Poithéa {leak}")
            folder.write("sent.jsonl", json.dumps(row))
            self.fails(folder, "no grant lets through is in a projected body")

    def test_strict_verification_refuses_small_order_and_a_large_s(self):
        for raw in ["01" + "00" * 31, "00" * 32, "ee" + "ff" * 30 + "7f", "ff" * 32]:
            with self.assertRaises(v.Fault):
                v.strict_point(bytes.fromhex(raw))
        key = {"key": SUD.private.public_key()}
        good = SUD.private.sign(b"m")
        v.verify(key, b"m", good)
        large = int.from_bytes(good[32:], "little") + v.L
        with self.assertRaises(v.Fault):
            v.verify(key, b"m", good[:32] + large.to_bytes(32, "little"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
