//! `/.well-known/core`: which links there are, which of them a query finds, and how they come in blocks.
#![cfg(feature = "coap")]

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::iter::repeat_n;

use coap_handler::{Attribute, Handler, Record, Reporting};
use coap_message::error::RenderableOnMinimal;
use coap_message::{
    Code, MessageOption, MinimalWritableMessage, MutableWritableMessage, OptionNumber, ReadableMessage,
};
use coap_message_implementations::{inmemory, inmemory_write};
use coap_numbers::{code, option};
use dtls_psk::coap::{Error, Message, Server, WellKnownCore};
use proptest::prelude::*;

#[path = "support/coap.rs"]
mod support;

use support::{Repeatable, Script, ScriptOver, World};

/// More than any document here has.
const PLENTY: usize = 70_000;

#[derive(Clone, Default)]
struct Link {
    path: Vec<String>,
    rel: Option<&'static str>,
    attributes: Vec<Attribute>,
}

fn link(path: &str, attributes: &[Attribute]) -> Link {
    let path = path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
    Link { path, rel: None, attributes: attributes.to_vec() }
}

impl Record for &Link {
    type PathElement = String;
    type PathElements = std::vec::IntoIter<String>;
    type Attributes = std::vec::IntoIter<Attribute>;

    fn path(&self) -> Self::PathElements {
        self.path.clone().into_iter()
    }

    fn rel(&self) -> Option<&str> {
        self.rel
    }

    fn attributes(&self) -> Self::Attributes {
        self.attributes.clone().into_iter()
    }
}

/// Reports links, and answers every other request with what it has seen of it.
#[derive(Clone, Default)]
struct Site {
    links: Vec<Link>,
    /// Links that are there as text.
    extra: String,
    /// Whether they cannot be written.
    fails: bool,
}

impl Handler for Site {
    type RequestData = String;
    type ExtractRequestError = std::convert::Infallible;
    type BuildResponseError<M: MinimalWritableMessage> = M::UnionError;

    fn extract_request_data<M: ReadableMessage>(
        &mut self,
        request: &M,
    ) -> Result<String, Self::ExtractRequestError> {
        let mut seen = format!("{:?}", request.code().into());
        for option in request.options() {
            write!(seen, " {}={:?}", option.number(), option.value()).unwrap();
        }
        Ok(seen)
    }

    fn estimate_length(&mut self, seen: &String) -> usize {
        seen.len()
    }

    fn build_response<M: MutableWritableMessage>(
        &mut self,
        response: &mut M,
        seen: String,
    ) -> Result<(), M::UnionError> {
        response.set_code(M::Code::new(code::CREATED)?);
        response.add_option(M::OptionNumber::new(option::LOCATION_PATH)?, b"inner")?;
        response.set_payload(seen.as_bytes())?;
        Ok(())
    }
}

impl Reporting for Site {
    type Record<'res> = &'res Link;
    type Reporter<'res> = std::slice::Iter<'res, Link>;

    fn report(&self) -> Self::Reporter<'_> {
        self.links.iter()
    }

    fn write_extra_link_format(&self, to: &mut impl Write, is_first: &mut bool) -> std::fmt::Result {
        if !self.extra.is_empty() {
            to.write_str(if *is_first { "" } else { "," })?;
            to.write_str(&self.extra)?;
            *is_first = false;
        }
        if self.fails { Err(std::fmt::Error) } else { Ok(()) }
    }
}

/// A response: its code, its options, its payload.
#[derive(Debug, PartialEq)]
struct Response {
    code: u8,
    options: BTreeMap<u16, Vec<u8>>,
    payload: Vec<u8>,
}

impl Response {
    fn text(&self) -> &str {
        assert_eq!(self.code, code::CONTENT);
        assert_eq!(self.options[&option::CONTENT_FORMAT], [40]);
        std::str::from_utf8(&self.payload).unwrap()
    }

    /// Number, M and SZX.
    fn block2(&self) -> Option<(u32, bool, u8)> {
        let value = uint(self.options.get(&option::BLOCK2)?);
        Some((value >> 4, value & 8 != 0, (value & 7) as u8))
    }
}

fn uint(value: &[u8]) -> u32 {
    value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Has a handler answer, as servers do, with that many bytes for options and payload.
fn answer(handler: &mut impl Handler, request: &impl ReadableMessage, space: usize) -> Response {
    let (mut code, mut tail) = (0, vec![0xee; space]);
    let mut response = inmemory_write::Message::new(&mut code, &mut tail);
    match handler.extract_request_data(request) {
        Ok(data) => {
            // An estimate is no promise, but it has to be one that a buffer can be made of.
            assert!(handler.estimate_length(&data) < PLENTY);
            if let Err(error) = handler.build_response(&mut response, data) {
                render(&mut response, error);
            }
        }
        Err(error) => render(&mut response, error),
    }
    let len = response.finish();
    let response = inmemory::Message::new(code, &tail[..len]);
    let options = response.options().map(|option| (option.number(), option.value().to_vec())).collect();
    Response { code, options, payload: response.payload().to_vec() }
}

fn render(response: &mut inmemory_write::Message<'_>, error: impl RenderableOnMinimal + Debug) {
    response.reset();
    if let Err(second) = error.render(response) {
        response.reset();
        second.render(response).unwrap();
    }
}

/// The bytes of a request without a header.
fn request(options: &[(u16, &[u8])]) -> Vec<u8> {
    let (mut code, mut tail) = (0, vec![0; 4_096]);
    let mut message = inmemory_write::Message::new(&mut code, &mut tail);
    for (number, value) in options {
        message.add_option(*number, value).unwrap();
    }
    let len = message.finish();
    tail.truncate(len);
    tail
}

/// Asks for the links: GET, `/.well-known/core`, and these options.
fn ask_with(site: &Site, method: u8, options: &[(u16, &[u8])], space: usize) -> Response {
    let path = [(option::URI_PATH, &b".well-known"[..]), (option::URI_PATH, b"core")];
    let mut options = [&path, options].concat();
    options.sort_by_key(|(number, _)| *number);
    let bytes = request(&options);
    answer(&mut WellKnownCore::new(site.clone()), &inmemory::Message::new(method, &bytes), space)
}

fn ask(site: &Site, options: &[(u16, &[u8])]) -> Response {
    ask_with(site, code::GET, options, PLENTY)
}

/// What is found with these filters.
fn find(site: &Site, queries: &[&str]) -> String {
    let options: Vec<_> = queries.iter().map(|query| (option::URI_QUERY, query.as_bytes())).collect();
    ask(site, &options).text().to_owned()
}

/// The block with this number, in blocks of 2^(szx + 4) bytes.
fn block(site: &Site, (number, szx): (u32, u8), space: usize) -> Response {
    let value = (number << 4 | u32::from(szx)).to_be_bytes();
    let value = &value[value.iter().take_while(|byte| **byte == 0).count()..];
    ask_with(site, code::GET, &[(option::BLOCK2, value)], space)
}

/// The site of RFC 6690 §5.
fn rfc_6690() -> Site {
    Site {
        links: vec![
            link("sensors", &[Attribute::Ct(40), Attribute::Title("Sensor Index")]),
            link(
                "sensors/temp",
                &[Attribute::ResourceType("temperature-c"), Attribute::Interface("sensor")],
            ),
            link(
                "sensors/light",
                &[Attribute::ResourceType("light-lux core.sen-light"), Attribute::Interface("sensor")],
            ),
        ],
        extra: r#"<http://www.example.com/sensors/t123>;anchor="/sensors/temp";rel="describedby",</t>;anchor="/sensors/temp";rel="alternate""#
            .into(),
        fails: false,
    }
}

const SENSORS: &str = r#"</sensors>;ct=40;title="Sensor Index""#;
const TEMP: &str = r#"</sensors/temp>;rt="temperature-c";if="sensor""#;
const LIGHT: &str = r#"</sensors/light>;rt="light-lux core.sen-light";if="sensor""#;
const T123: &str = r#"<http://www.example.com/sensors/t123>;anchor="/sensors/temp";rel="describedby""#;
const T: &str = r#"</t>;anchor="/sensors/temp";rel="alternate""#;

#[test]
fn the_examples_of_rfc_6690() {
    let site = rfc_6690();
    let all = [SENSORS, TEMP, LIGHT, T123, T].join(",");
    let response = ask(&site, &[]);
    assert_eq!(response.text(), all);
    assert_eq!(response.options.len(), 1, "it is whole: no ETag, no Block2");
    for (query, expected) in [
        ("href=/sensors", &[SENSORS][..]),
        ("href=/sensors*", &[SENSORS, TEMP, LIGHT]),
        ("href=/sensors/*", &[TEMP, LIGHT]),
        ("href=/t", &[T]),
        ("href=http://www.example.com/*", &[T123]),
        ("href=*", &[SENSORS, TEMP, LIGHT, T123, T]),
        ("href=/sensor", &[]),
        ("href=", &[]),
        ("rt=light-lux", &[LIGHT]),
        ("rt=core.sen-light", &[LIGHT]),
        ("rt=core.*", &[LIGHT]),
        ("rt=light-lux core.sen-light", &[]),
        ("rt=light", &[]),
        ("rt=*", &[TEMP, LIGHT]),
        ("if=sensor", &[TEMP, LIGHT]),
        ("if=sens*", &[TEMP, LIGHT]),
        ("rel=alternate", &[T]),
        ("rel=*", &[T123, T]),
        ("anchor=/sensors/temp", &[T123, T]),
        ("ct=40", &[SENSORS]),
        ("ct=4*", &[SENSORS]),
        ("ct=4", &[]),
        ("title=Sensor Index", &[SENSORS]),
        ("title=Index", &[]),
        ("Title=Sensor Index", &[]),
        ("sz=*", &[]),
        ("t=*", &[]),
        ("core.sen-light", &[]),
    ] {
        if query.contains('=') {
            assert_eq!(find(&site, &[query]), expected.join(","), "{query}");
        } else {
            assert_eq!(ask(&site, &[(option::URI_QUERY, query.as_bytes())]).code, code::BAD_REQUEST);
        }
    }
}

#[test]
fn several_filters_match_together() {
    let site = rfc_6690();
    assert_eq!(find(&site, &["if=sensor", "href=/sensors/t*"]), TEMP);
    assert_eq!(find(&site, &["anchor=*", "rel=alternate", "href=/*"]), T);
    assert_eq!(find(&site, &["if=sensor", "ct=40"]), "");
    // A URI that ends in a question mark has an empty query.
    assert_eq!(find(&site, &["", "ct=40"]), SENSORS);
    let many = ["ct=*"; 9];
    assert_eq!(find(&site, &many[..8]), SENSORS);
    let many = many.map(|query| (option::URI_QUERY, query.as_bytes()));
    assert_eq!(ask(&site, &many).code, code::BAD_REQUEST);
}

/// Every kind of attribute, with and without a value, with and without quotes.
#[test]
fn attributes() {
    let site = Site {
        links: vec![
            Link { rel: Some("a b"), ..link("led", &[Attribute::Observable, Attribute::Ct(0)]) },
            link("log", &[Attribute::Sz(1_000), Attribute::Other(r#"ct="0 50""#)]),
            link("d", &[Attribute::Other("d"), Attribute::Other("ep=node1")]),
            // What separates links, attributes and values is nothing special between quotes.
            link("q", &[Attribute::Other(r#"say="a;b=c,<d>;rt=\"x\"""#), Attribute::Other("empty=")]),
        ],
        ..Site::default()
    };
    let led = r#"</led>;rel="a b";obs;ct=0"#;
    let log = r#"</log>;sz=1000;ct="0 50""#;
    let d = "</d>;d;ep=node1";
    let q = r#"</q>;say="a;b=c,<d>;rt=\"x\"";empty="#;
    assert_eq!(find(&site, &[]), [led, log, d, q].join(","));
    for (query, expected) in [
        ("obs=", &[led][..]),
        ("obs=*", &[led]),
        ("obs=1", &[]),
        ("d=", &[d]),
        ("d=*", &[d]),
        ("ep=node1", &[d]),
        ("ep=node*", &[d]),
        ("e=*", &[]),
        ("sz=1000", &[log]),
        ("sz=1*", &[log]),
        ("rel=a", &[led]),
        ("rel=b", &[led]),
        ("rel=a b", &[]),
        ("ct=0", &[led]),
        ("ct=0*", &[led, log]),
        ("ct=0 50", &[log]),
        ("say=a;b=c,<d>;rt=\"x\"", &[q]),
        ("say=a;b=c*", &[q]),
        ("rt=*", &[]),
        ("b=*", &[]),
        ("empty=", &[q]),
    ] {
        assert_eq!(find(&site, &[query]), expected.join(","), "{query}");
    }
}

/// A path is what its segments say, whatever that is in a URI, and a filter for it is what Uri-Query options say.
#[test]
fn paths_are_percent_encoded() {
    let segments = |segments: &[&str]| Link {
        path: segments.iter().map(|segment| (*segment).to_owned()).collect(),
        ..Link::default()
    };
    let all = "AZaz09-._~!$&'()*+,;=:@";
    let site = Site {
        links: vec![
            segments(&[]),
            segments(&["", "x", ""]),
            segments(&["a/b", "café>", "100%", "\"?#[]"]),
            segments(&[all]),
        ],
        ..Site::default()
    };
    let encoded = "</a%2Fb/caf%C3%A9%3E/100%25/%22%3F%23%5B%5D>";
    assert_eq!(find(&site, &[]), format!("</>,<//x/>,{encoded},</{all}>"));
    assert_eq!(find(&site, &["href=/"]), "</>");
    assert_eq!(find(&site, &["href=/a/b/café*"]), encoded);
    assert_eq!(find(&site, &["href=/a/b/café>/100%/\"?#[]"]), encoded);
    assert_eq!(find(&site, &["href=/a%2Fb/caf%C3%A9*"]), encoded);
    assert_eq!(find(&site, &[&format!("href=/{all}")]), format!("</{all}>"));
}

#[test]
fn nothing_to_report() {
    let site = Site::default();
    assert_eq!(find(&site, &[]), "");
    assert_eq!(find(&site, &["href=*"]), "");
    let first = block(&site, (0, 2), PLENTY);
    assert_eq!((first.text(), first.block2()), ("", Some((0, false, 2))));
    assert_eq!(block(&site, (1, 2), PLENTY).code, code::BAD_REQUEST);
    // Text alone is not separated from anything.
    assert_eq!(find(&Site { extra: "</x>".into(), ..site }, &["href=/x"]), "</x>");
}

/// The first 256 links can be told apart. Where others match, no filter is there.
#[test]
fn more_links_than_can_be_told_apart() {
    let numbered = |count: usize| Site {
        links: (0..count).map(|number| link(&format!("r{number}"), &[])).collect(),
        ..Site::default()
    };
    assert_eq!(find(&numbered(256), &["href=/r255"]), "</r255>");
    assert_eq!(find(&numbered(300), &["href=/r255"]), "</r255>");
    assert_eq!(find(&numbered(300), &["href=/r256"]), find(&numbered(300), &[]));
    assert_eq!(find(&numbered(300), &["href=/r256", "href=/r7"]), "</r7>");
    assert_eq!(find(&numbered(300), &["href=/r7", "href=/r256"]), "</r7>");
}

#[test]
fn what_is_refused() {
    let site = rfc_6690();
    for (method, options, expected) in [
        (code::GET, &[(option::ACCEPT, &b"\x28"[..])][..], code::CONTENT),
        (code::GET, &[(option::ACCEPT, b"\0\x28")], code::CONTENT),
        (code::GET, &[(option::ACCEPT, b"")], code::NOT_ACCEPTABLE),
        (code::GET, &[(option::ACCEPT, b"\x32")], code::NOT_ACCEPTABLE),
        (code::GET, &[(option::ACCEPT, b"\x28"), (option::ACCEPT, b"\x28")], code::BAD_OPTION),
        (code::GET, &[(option::ACCEPT, b"\0\0\x28")], code::BAD_OPTION),
        (code::GET, &[(option::URI_HOST, b"here"), (option::URI_PORT, b"\x16\x33")], code::CONTENT),
        (code::GET, &[(option::IF_MATCH, b"")], code::BAD_OPTION),
        (code::GET, &[(option::PROXY_URI, b"coap://elsewhere")], code::BAD_OPTION),
        (code::GET, &[(2_049, b"")], code::BAD_OPTION),
        // Elective ones are ignored, whatever they are.
        (code::GET, &[(option::ETAG, b"12345678"), (option::OBSERVE, b""), (2_048, b"x")], code::CONTENT),
        (code::GET, &[(option::URI_QUERY, &[b'='; 256])], code::BAD_OPTION),
        (code::GET, &[(option::BLOCK2, b"\x07")], code::BAD_REQUEST),
        (code::GET, &[(option::BLOCK2, b"\0\0\0\0")], code::BAD_OPTION),
        (code::GET, &[(option::BLOCK2, b""), (option::BLOCK2, b"")], code::BAD_OPTION),
        (code::POST, &[], code::METHOD_NOT_ALLOWED),
        (code::PUT, &[], code::METHOD_NOT_ALLOWED),
        (code::DELETE, &[], code::METHOD_NOT_ALLOWED),
        (code::FETCH, &[], code::METHOD_NOT_ALLOWED),
        (code::PUT, &[(option::IF_NONE_MATCH, b"")], code::BAD_OPTION),
    ] {
        let response = ask_with(&site, method, options, PLENTY);
        assert_eq!(response.code, expected, "{method}, {options:?}");
        if expected != code::CONTENT {
            assert_eq!((response.options.len(), response.payload.len()), (0, 0));
        }
    }
    assert_eq!(ask(&Site { fails: true, ..site }, &[]).code, code::INTERNAL_SERVER_ERROR);
}

#[test]
fn everything_else_is_for_the_handler() {
    for path in [
        &[][..],
        &["led"],
        &[".well-known"],
        &["core"],
        &[".well-known", "rd"],
        &[".well-known", "core", ""],
        &["", ".well-known", "core"],
        &["core", ".well-known"],
    ] {
        let mut options: Vec<_> = path.iter().map(|segment| (option::URI_PATH, segment.as_bytes())).collect();
        options.extend([(option::URI_QUERY, &b"rt=*"[..]), (option::BLOCK2, b"\x07"), (2_049, b"!")]);
        let bytes = request(&options);
        for method in [code::GET, code::PUT] {
            let message = inmemory::Message::new(method, &bytes);
            let expected = answer(&mut Site::default(), &message, PLENTY);
            assert_eq!(expected.code, code::CREATED);
            assert_eq!(answer(&mut WellKnownCore::new(Site::default()), &message, PLENTY), expected);
            // And its errors are its own.
            assert_eq!(
                answer(&mut WellKnownCore::new(Site::default()), &message, 3).code,
                answer(&mut Site::default(), &message, 3).code
            );
        }
    }
    // It reports what the handler does, so that it may be a part of another tree.
    let outer = WellKnownCore::new(WellKnownCore::new(rfc_6690()));
    assert_eq!(outer.report().count(), 3);
    let bytes = request(&[(option::URI_PATH, b".well-known"), (option::URI_PATH, b"core")]);
    let response = answer(&mut { outer }, &inmemory::Message::new(code::GET, &bytes), PLENTY);
    assert_eq!(response.text(), find(&rfc_6690(), &[]));
}

/// A site with a document of exactly this length.
fn site_of(len: usize) -> Site {
    let first = "</a>";
    let fill = r#";title="""#.len();
    let link_len = 1 + first.len();
    let (count, rest) = match len {
        0 => return Site::default(),
        _ if len < first.len() + fill => (1, len),
        _ => (1 + (len - first.len()) / (4 * link_len), 0),
    };
    if rest > 0 {
        // As short as that it is no link, which is nobody's business here.
        return Site { extra: "x".repeat(rest), ..Site::default() };
    }
    let mut site = Site { links: repeat_n(link("a", &[]), count).collect(), ..Site::default() };
    let is = count * link_len - 1;
    let digits = "0123456789abcdef";
    site.extra = digits.chars().cycle().take(len - is - usize::from(len > is)).collect();
    site
}

#[test]
fn blocks_of_every_size_make_up_the_document() {
    for len in [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 257, 1_000, 1_024, 1_025, 5_000] {
        let site = site_of(len);
        let whole = ask(&site, &[]).payload;
        assert_eq!(whole.len(), len);
        for szx in 0..=6 {
            let size = 16 << szx;
            let last = len.saturating_sub(1) / size;
            let mut together = Vec::new();
            let mut etags = Vec::new();
            for number in 0..=last {
                let response = block(&site, (number as u32, szx), PLENTY);
                response.text();
                let more = number < last;
                assert_eq!(response.block2(), Some((number as u32, more, szx)), "{len}");
                let size2 = response.options.get(&option::SIZE2).map(|value| uint(value));
                assert_eq!(size2, (more && number == 0).then_some(len as u32));
                etags.push(response.options[&option::ETAG].clone());
                together.extend(response.payload);
            }
            assert_eq!(together, whole);
            etags.dedup();
            assert_eq!((etags.len(), etags[0].len()), (1, 8));
            for number in [last as u32 + 1, last as u32 + 2, 0xf_fffe, 0xf_ffff] {
                let response = block(&site, (number, szx), PLENTY);
                assert_eq!(response.code, code::BAD_REQUEST);
                assert_eq!(response.options.len(), 0);
            }
        }
    }
}

/// Blocks are as long as there is room, in each response anew, and the next one is where this one ends.
#[test]
fn blocks_are_shorter_where_there_is_no_room() {
    let site = rfc_6690();
    let whole = ask(&site, &[]).payload;
    let mut sizes = Vec::new();
    for space in 0..whole.len() + 40 {
        let response = ask_with(&site, code::GET, &[], space);
        if response.code != code::CONTENT {
            assert_eq!(response.code, code::INTERNAL_SERVER_ERROR);
            assert!(space < 37, "{space}");
            continue;
        }
        let Some((0, true, szx)) = response.block2() else {
            assert_eq!(response.payload, whole);
            assert!(space >= whole.len() + 3, "{space}");
            continue;
        };
        assert_eq!(response.payload.len(), 16 << szx);
        sizes.push(response.payload.len());
        // With alternately more and less room, and sizes that the client chooses.
        let mut together = response.payload;
        let mut etags = vec![response.options[&option::ETAG].clone()];
        for at in 0.. {
            let asked = 6 - at % 4;
            let szx = (0..=asked).rev().find(|szx| together.len().is_multiple_of(16 << szx)).unwrap();
            let number = (together.len() >> (szx + 4)) as u32;
            let response = block(&site, (number, szx), space.max(37) + usize::from(at) % 3 * 64);
            let (number, more, made) = response.block2().unwrap();
            assert!(made <= szx);
            assert_eq!(number << (made + 4), together.len() as u32);
            together.extend(&response.payload);
            etags.push(response.options[&option::ETAG].clone());
            if !more {
                break;
            }
        }
        assert_eq!(together, whole);
        etags.dedup();
        assert_eq!(etags.len(), 1);
    }
    sizes.dedup();
    assert_eq!(sizes, [16, 32, 64, 128]);
}

/// What is found comes in blocks, too, with an ETag of its own.
#[test]
fn blocks_of_what_was_found() {
    let site = rfc_6690();
    let found = [TEMP, LIGHT].join(",");
    let mut together = String::new();
    let mut etag = Vec::new();
    for number in 0_u8.. {
        let options = [(option::URI_QUERY, &b"if=sensor"[..]), (option::BLOCK2, &[number << 4 | 1])];
        let response = ask(&site, &options);
        together += response.text();
        etag = response.options[&option::ETAG].clone();
        if !response.block2().unwrap().1 {
            break;
        }
    }
    assert_eq!(together, found);
    assert_ne!(etag, block(&site, (0, 1), PLENTY).options[&option::ETAG]);
    let mut other = site.clone();
    other.links[0] = link("sensor", &[]);
    assert_ne!(block(&other, (0, 1), PLENTY).options, block(&site, (0, 1), PLENTY).options);
}

#[test]
fn hostile_queries() {
    let site = rfc_6690();
    let mut long = b"rt=".to_vec();
    long.resize(255, b'l');
    for query in [&b"*"[..], b"=", b"=*", b"rt", b"\xff\xfe", &[b'*'; 255], &[0; 255]] {
        assert_eq!(ask(&site, &[(option::URI_QUERY, query)]).code, code::BAD_REQUEST, "{query:02x?}");
    }
    for query in
        [&b"rt=\xff\xfe"[..], b"\xff=\xff*", b"rt=\0", b"rt==", b"rt=**", b"rt=l*x", b"href=%", b"<=*", &long]
    {
        assert_eq!(ask(&site, &[(option::URI_QUERY, query)]).text(), "", "{query:02x?}");
    }
}

/// Over a server with little room, which hides Block2 from handlers at first.
#[test]
fn over_a_server() {
    for len in [100, 1_000] {
        let site = site_of(len);
        let whole = ask(&site, &[]).payload;
        for szx in 0..=6_u8 {
            let world = World::default();
            let mut together: Vec<u8> = Vec::new();
            for id in 1_u16.. {
                let number = (together.len() >> (szx.min(2) + 4)) as u32;
                // Longer blocks than there is room for become shorter after the first one.
                let value = number << 4 | u32::from(if number == 0 { szx } else { szx.min(2) });
                let mut datagram = vec![0x40, 1];
                datagram.extend(id.to_be_bytes());
                datagram.extend(b"\xbb.well-known\x04core\xc3");
                datagram.extend(&value.to_be_bytes()[1..]);
                let mut script = Script::new(&world);
                script.arrive(&datagram);
                let mut handler = WellKnownCore::new(site.clone());
                let mut server =
                    Server::<_, _, _, 128, 4, 128>::with_sizes(&mut script, &world, Repeatable(1));
                assert_eq!(world.run(server.run(&mut handler)), Some(Error::Socket(ScriptOver)));
                let replies = script.replies();
                let reply = Message::parse(&replies[0]).unwrap();
                assert_eq!(ReadableMessage::code(&reply), code::CONTENT);
                together.extend(reply.payload());
                let block2 = reply.options().find(|option| option.number() == option::BLOCK2).unwrap();
                if uint(block2.value()) & 8 == 0 {
                    break;
                }
            }
            assert_eq!(together, whole);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, in however little room: there is a response, and it is one.
    #[test]
    fn anything_goes(
        rest in prop::collection::vec(any::<u8>(), 0..300),
        well_known in any::<bool>(),
        method in 1_u8..8,
        space in 0_usize..300,
    ) {
        let path: &[u8] = if well_known { b"\xbb.well-known\x04core" } else { b"" };
        let bytes = [path, &rest].concat();
        let response =
            answer(&mut WellKnownCore::new(rfc_6690()), &inmemory::Message::new(method, &bytes), space);
        prop_assert!(response.code >> 5 >= 2);
    }

    /// Options that are understood, with values of all kinds.
    #[test]
    fn any_options(
        queries in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..256),
                "(href|rt|if|rel|ct|obs|title|anchor)=[a-z/.*<>,; \"%-]{0,40}".prop_map(String::into_bytes),
            ],
            0..10,
        ),
        accept in prop::option::of(prop::collection::vec(any::<u8>(), 0..4)),
        block2 in prop::option::of(prop::collection::vec(any::<u8>(), 0..5)),
        space in 0_usize..600,
    ) {
        let mut options: Vec<(u16, &[u8])> = Vec::new();
        options.extend(queries.iter().map(|query| (option::URI_QUERY, &query[..])));
        options.extend(accept.iter().map(|accept| (option::ACCEPT, &accept[..])));
        options.extend(block2.iter().map(|block2| (option::BLOCK2, &block2[..])));
        let response = ask_with(&rfc_6690(), code::GET, &options, space);
        if response.code != code::CONTENT {
            prop_assert!(response.payload.is_empty());
            prop_assert!(response.code >> 5 >= 4);
        }
    }

    /// A document that is none does no harm either, and without filters it is as it was written.
    #[test]
    fn any_document(extra in "[<>;=,\"\\\\a-c *%0]{0,80}", query in "(href|a|b|rt)=[a-c %0]{0,3}[*]?") {
        let site = Site { extra: extra.clone(), links: vec![link("a", &[])], fails: false };
        let whole = if extra.is_empty() { "</a>".to_owned() } else { format!("</a>,{extra}") };
        prop_assert_eq!(find(&site, &[]), whole.clone());
        let found = find(&site, &[&query]);
        prop_assert!(found.len() <= whole.len());
    }
}
