//! Messages that a client library can't read, from a client that makes its
//! frames itself.

use super::broker::{Node, shared};
use super::lab::{Lab, PASSWORD, SUD, message, number};
use pirogue::bus::{BatchLimits, Bus, EVENTS, HUB, INBOX};
use pirogue::event::HeaderValue;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn short(text: &[u8]) -> Vec<u8> {
    [&[text.len() as u8], text].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// A client of AMQP 0-9-1, as small as can be.
struct Raw(TcpStream);

impl Raw {
    fn connect(node: &Node, vhost: &str, user: &str) -> Raw {
        let mut raw = Raw(TcpStream::connect(("127.0.0.1", node.port)).unwrap());
        raw.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        raw.0.write_all(b"AMQP\0\0\x09\x01").unwrap();
        raw.expect(10, 10);
        let login = format!("\0{user}\0{PASSWORD}");
        let start_ok = [long(&[]), short(b"PLAIN"), long(login.as_bytes()), short(b"en_US")].concat();
        raw.method(0, 10, 11, &start_ok);
        raw.expect(10, 30);
        raw.method(0, 10, 31, &[0, 8, 0, 2, 0, 0, 0, 0]);
        raw.method(0, 10, 40, &[short(vhost.as_bytes()), vec![0, 0]].concat());
        raw.expect(10, 41);
        raw.method(1, 20, 10, &[0]);
        raw.expect(20, 11);
        raw.method(1, 85, 10, &[0]);
        raw.expect(85, 11);
        raw
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let head = [&[kind][..], &channel.to_be_bytes(), &(payload.len() as u32).to_be_bytes()].concat();
        self.0.write_all(&[&head[..], payload, &[0xCE]].concat()).unwrap();
    }

    fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) {
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
        self.frame(1, channel, &payload);
    }

    /// Reads frames up to this method.
    fn expect(&mut self, class: u16, method: u16) {
        loop {
            let mut head = [0; 7];
            self.0.read_exact(&mut head).unwrap();
            let mut payload = vec![0; u32::from_be_bytes(head[3..].try_into().unwrap()) as usize + 1];
            self.0.read_exact(&mut payload).unwrap();
            let found = u32::from_be_bytes(payload[..4].try_into().unwrap());
            if head[0] == 1 && found == u32::from(class) << 16 | u32::from(method) {
                return;
            }
            let is_close = head[0] == 1 && matches!(found, 0x000A_0032 | 0x0014_0028);
            assert!(!is_close, "the broker closes: {}", String::from_utf8_lossy(&payload));
        }
    }

    /// Publishes a message with these headers and message id, and waits for
    /// its confirm.
    fn publish(&mut self, routing_key: &[u8], table: &[u8], message_id: &[u8], body: &[u8]) {
        let publish = [vec![0, 0], short(EVENTS.as_bytes()), short(routing_key), vec![0]].concat();
        self.method(1, 60, 40, &publish);
        let flags = 0x2000u16 | 0x0080;
        let size = (body.len() as u64).to_be_bytes();
        let header =
            [&[0, 60, 0, 0][..], &size, &flags.to_be_bytes(), &long(table), &short(message_id)].concat();
        self.frame(2, 1, &header);
        self.frame(3, 1, body);
        self.expect(60, 80);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_client_library_cant_read_doesnt_stop_the_hub() {
    let node = shared().node();
    let lab = Lab::open(node, "poison", 1 << 30).await;
    tokio::task::block_in_place(|| {
        let mut raw = Raw::connect(node, "poison", SUD);
        let key = b"province-sud.nc.test.thing";
        raw.publish(key, b"", b"not utf-8: \xFF\xC3", &0u64.to_be_bytes());
        raw.publish(b"province-sud.\xFF", b"", b"id", &1u64.to_be_bytes());
        raw.publish(
            key,
            &[short(b"name\x80"), b"S".to_vec(), long(b"\xFF")].concat(),
            b"id",
            &2u64.to_be_bytes(),
        );
        // A table in a table …, as deep as a frame of 128 KiB allows.
        let mut value = Vec::new();
        for _ in 0..16_000 {
            value =
                [b"F".to_vec(), long(&if value.is_empty() { vec![] } else { [short(b"t"), value].concat() })]
                    .concat();
        }
        raw.publish(key, &[short(b"deep"), value].concat(), b"id", &3u64.to_be_bytes());
    });
    let sud = lab.connect(node, SUD).await;
    sud.publish(EVENTS, vec![message(SUD, 4)]).await.unwrap();

    let hub = lab.connect(node, HUB).await;
    let mut consumer = hub.consume(INBOX, 10).await.unwrap();
    let limits = BatchLimits { messages: 5, bytes: 1 << 20, linger: Duration::from_secs(60) };
    let got = consumer.next(&limits).await.unwrap();
    assert_eq!(got.iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(got[0].message.message_id.as_deref(), Some("not utf-8: ??"));
    assert_eq!(got[1].routing_key, "province-sud.?");
    assert_eq!(got[2].message.headers, [("name?".into(), HeaderValue::Bytes(vec![0xFF]))]);
    assert!(matches!(&got[3].message.headers[..], [(name, HeaderValue::Other(_))] if name == "deep"));
}
