//! `/.well-known/core`: what a server has, as links (RFC 6690, RFC 7252 §7.2).
//!
//! Nothing here has room for the document. It is written anew for every purpose, into something that looks at its bytes
//! as they pass: to find the links that a query asks for, to learn how long it is, and to keep the one block that goes out.

use core::fmt::{self, Debug, Write};
use core::hash::Hasher;

use coap_handler::{Handler, Record, Reporting};
use coap_message::error::RenderableOnMinimal;
use coap_message::{
    Code, MessageOption, MinimalWritableMessage, MutableWritableMessage, OptionNumber, ReadableMessage,
};
use coap_numbers::option::{Criticality, get_criticality};
use coap_numbers::{code, option};
use siphasher::sip::SipHasher24;

use super::block::Block;
use super::option_format;

/// `application/link-format` in the Content-Formats registry.
const LINK_FORMAT: u16 = 40;

/// How many links a query can choose from.
const MAX_LINKS: usize = 256;

/// How many filters a query may have. RFC 6690 §4.1 knows of one; each one costs a pass over the document.
const MAX_FILTERS: usize = 8;

/// How many bytes a response has in front of a block, its payload marker among them: ETag, Content-Format, Block2 and Size2.
const IN_FRONT: usize = 9 + 2 + 4 + 5 + 1;

/// The same in front of a document that needs no blocks.
const IN_FRONT_OF_WHOLE: usize = 2 + 1;

/// Makes all that a handler reports discoverable at `/.well-known/core`, and leaves everything else to that handler.
///
/// The links can be filtered as RFC 6690 §4.1 says: `?rt=temperature`, `?href=/sensors/*`, `?obs=`. Of several filters, all
/// have to match. A filter that nothing matches gets an empty document, and one that matches a link behind the first 256 is
/// ignored, as §4.1 allows.
///
/// The document comes in blocks (RFC 7959) where it does not fit into a message, with an ETag that is another one when the
/// links change. It has no buffer: it may be as long as it likes.
///
/// ```
/// use coap_handler::Attribute;
/// use coap_handler_implementations::{HandlerBuilder, SimpleRendered, new_dispatcher};
/// use dtls_psk::coap::WellKnownCore;
///
/// let resources = new_dispatcher()
///     .at_with_attributes(&["hello"], &[Attribute::Title("A greeting")], SimpleRendered("Hello"));
/// let resources = WellKnownCore::new(resources);
/// // Hand it to `coap::Server::run`. A GET of `/.well-known/core` answers `</hello>;title="A greeting"`.
/// # fn is_handler(_: impl coap_handler::Handler + coap_handler::Reporting) {}
/// # is_handler(resources);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct WellKnownCore<H>(H);

impl<H: Handler + Reporting> WellKnownCore<H> {
    /// Around `handler`, which never sees a request for `/.well-known/core`.
    pub const fn new(handler: H) -> Self {
        Self(handler)
    }

    /// Judges a request for the links, and finds those that it asks for. The error is a response code.
    fn judge<M: ReadableMessage>(&self, request: &M) -> Result<Wanted, u8> {
        let mut accept = None;
        let mut block2 = None;
        let mut filters = 0;
        for option in request.options() {
            let value = option.value();
            match option.number() {
                // Whoever delivers a request has seen to it that it is for this server.
                option::URI_HOST | option::URI_PORT | option::URI_PATH => {}
                option::URI_QUERY if value.len() <= 255 => filters += usize::from(!value.is_empty()),
                option::ACCEPT if accept.is_none() && value.len() <= 2 => {
                    accept = Some(value.iter().fold(0, |number, &byte| number << 8 | u16::from(byte)));
                }
                option::BLOCK2 if block2.is_none() && value.len() <= 3 => {
                    // The reserved SZX is 4.00, whatever else a request has (RFC 7959 §2.2).
                    block2 = Some(Block::from_value(value).ok_or(code::BAD_REQUEST)?);
                }
                // Repetitions and lengths that no RFC allows make an option one that is not understood (RFC 7252 §5.4).
                number if get_criticality(number) == Criticality::Critical => return Err(code::BAD_OPTION),
                _ => {}
            }
        }
        if request.code().into() != code::GET {
            return Err(code::METHOD_NOT_ALLOWED);
        }
        if accept.is_some_and(|accept| accept != LINK_FORMAT) {
            return Err(code::NOT_ACCEPTABLE);
        }
        if filters > MAX_FILTERS {
            return Err(code::BAD_REQUEST);
        }
        Ok(Wanted { selected: self.select(request)?, block2 })
    }

    /// Which links match every filter of a request.
    fn select<M: ReadableMessage>(&self, request: &M) -> Result<Selected, u8> {
        let mut selected = Selected::All;
        for option in request.options() {
            // What follows the question mark of a URI may be nothing (RFC 7252 §6.4).
            if option.number() != option::URI_QUERY || option.value().is_empty() {
                continue;
            }
            let mut matcher = Matcher::new(Filter::parse(option.value()).ok_or(code::BAD_REQUEST)?);
            write_links(&self.0, &mut matcher).map_err(|_| code::INTERNAL_SERVER_ERROR)?;
            selected = selected.and(matcher.finish());
        }
        Ok(selected)
    }

    /// Writes the links that are wanted into a window.
    fn write(&self, selected: &Selected, window: Window<'_>) -> Result<Seen, LinksError> {
        let mut selecting = Selecting { window, selected, state: State::Between, link: 0, written: None };
        write_links(&self.0, &mut selecting).map_err(|_| LinksError)?;
        Ok(selecting.window.seen())
    }

    fn build<M: MutableWritableMessage>(&self, response: &mut M, wanted: &Wanted) -> Result<(), LinksError> {
        let Wanted { selected, block2 } = wanted;
        let document = self.write(selected, Window::new(0, &mut []))?;
        let space = response.available_space();
        let room = space.saturating_sub(IN_FRONT);
        let block = match block2 {
            Some(asked) => Some(asked.at_most(room)),
            None if document.total <= space.saturating_sub(IN_FRONT_OF_WHOLE) => None,
            None => Some(Block::first(room)),
        };
        let (offset, most) = block.map_or((0, document.total), |block| (block.offset(), block.len()));
        // Only an empty document has an empty block, its first.
        if offset >= document.total.max(1) {
            return set_code(response, code::BAD_REQUEST);
        }
        let len = most.min(document.total - offset);
        let more = offset + len < document.total;

        set_code(response, code::CONTENT)?;
        if block.is_some() {
            // So that blocks of two documents are not put together (RFC 7959 §2.4).
            add_option(response, option::ETAG, &document.digest.to_be_bytes())?;
        }
        add_uint(response, option::CONTENT_FORMAT, LINK_FORMAT.into())?;
        if let Some(block) = block {
            let block = Block::at(offset, more, block.szx).ok_or(LinksError)?;
            add_uint(response, option::BLOCK2, block.value())?;
            if more && offset == 0 {
                add_uint(response, option::SIZE2, u32::try_from(document.total).unwrap_or(u32::MAX))?;
            }
        }
        if len == 0 {
            return Ok(());
        }
        // That of `coap-message-implementations` (0.1) panics where not even the payload marker fits.
        if response.available_space() <= len {
            return Err(LinksError);
        }
        let payload = response.payload_mut_with_len(len).map_err(|_| LinksError)?;
        let payload = payload.get_mut(..len).ok_or(LinksError)?;
        // What a handler reports may be different by now; then the options say what is not so.
        let written = self.write(selected, Window::new(offset, payload))?;
        if written == document { Ok(()) } else { Err(LinksError) }
    }
}

impl<H: Handler + Reporting> Handler for WellKnownCore<H> {
    type RequestData = WellKnownData<H::RequestData>;
    type ExtractRequestError = H::ExtractRequestError;
    type BuildResponseError<M: MinimalWritableMessage> = WellKnownError<LinksError, H::BuildResponseError<M>>;

    fn extract_request_data<M: ReadableMessage>(
        &mut self,
        request: &M,
    ) -> Result<Self::RequestData, Self::ExtractRequestError> {
        Ok(WellKnownData(if is_for_links(request) {
            self.judge(request).map_or_else(Data::Refused, Data::Links)
        } else {
            Data::Inner(self.0.extract_request_data(request)?)
        }))
    }

    fn estimate_length(&mut self, request: &Self::RequestData) -> usize {
        match &request.0 {
            Data::Links(wanted) => {
                let total = self
                    .write(&wanted.selected, Window::new(0, &mut []))
                    .map_or(0, |document| document.total);
                IN_FRONT.saturating_add(wanted.block2.map_or(total, |block| block.len().min(total)))
            }
            Data::Refused(_) => 0,
            Data::Inner(request) => self.0.estimate_length(request),
        }
    }

    fn build_response<M: MutableWritableMessage>(
        &mut self,
        response: &mut M,
        request: Self::RequestData,
    ) -> Result<(), Self::BuildResponseError<M>> {
        match request.0 {
            Data::Links(wanted) => self.build(response, &wanted).map_err(WellKnownError::Own),
            Data::Refused(code) => set_code(response, code).map_err(WellKnownError::Own),
            Data::Inner(request) => self.0.build_response(response, request).map_err(WellKnownError::Inner),
        }
    }
}

/// The handler's own report: `/.well-known/core` does not list itself.
impl<H: Handler + Reporting> Reporting for WellKnownCore<H> {
    type Record<'res>
        = H::Record<'res>
    where
        Self: 'res;
    type Reporter<'res>
        = H::Reporter<'res>
    where
        Self: 'res;

    fn report(&self) -> Self::Reporter<'_> {
        self.0.report()
    }

    fn write_extra_link_format(&self, writer: &mut impl Write, is_first: &mut bool) -> fmt::Result {
        self.0.write_extra_link_format(writer, is_first)
    }
}

/// What a [`WellKnownCore`] keeps of a request.
pub struct WellKnownData<T>(Data<T>);

enum Data<T> {
    /// For the links.
    Links(Wanted),
    /// For the links, but in a way that is answered with this code.
    Refused(u8),
    /// For the handler.
    Inner(T),
}

/// What a request asks for.
struct Wanted {
    selected: Selected,
    block2: Option<Block>,
}

/// Why a [`WellKnownCore`] has built no response.
#[derive(Debug)]
pub enum WellKnownError<O, I> {
    /// For a reason of its own.
    Own(O),
    /// The handler has not.
    Inner(I),
}

impl<O: RenderableOnMinimal + Debug, I: RenderableOnMinimal + Debug> RenderableOnMinimal
    for WellKnownError<O, I>
{
    type Error<E: RenderableOnMinimal + Debug> = WellKnownError<O::Error<E>, I::Error<E>>;

    fn render<M: MinimalWritableMessage>(self, message: &mut M) -> Result<(), Self::Error<M::UnionError>> {
        match self {
            Self::Own(error) => error.render(message).map_err(WellKnownError::Own),
            Self::Inner(error) => error.render(message).map_err(WellKnownError::Inner),
        }
    }
}

/// The links could not be written: there is no room for as much as a block of 16 bytes, or the handler fails to report. It
/// renders as 5.00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LinksError;

impl RenderableOnMinimal for LinksError {
    type Error<E: RenderableOnMinimal + Debug> = E;

    fn render<M: MinimalWritableMessage>(self, message: &mut M) -> Result<(), M::UnionError> {
        message.set_code(M::Code::new(code::INTERNAL_SERVER_ERROR)?);
        Ok(())
    }
}

fn set_code<M: MinimalWritableMessage>(message: &mut M, code: u8) -> Result<(), LinksError> {
    message.set_code(M::Code::new(code).map_err(|_| LinksError)?);
    Ok(())
}

fn add_option<M: MinimalWritableMessage>(
    message: &mut M,
    number: u16,
    value: &[u8],
) -> Result<(), LinksError> {
    let number = M::OptionNumber::new(number).map_err(|_| LinksError)?;
    message.add_option(number, value).map_err(|_| LinksError)
}

fn add_uint<M: MinimalWritableMessage>(message: &mut M, number: u16, value: u32) -> Result<(), LinksError> {
    add_option(message, number, option_format::uint(value, &mut [0; 4]))
}

/// Whether a request is for `/.well-known/core`.
fn is_for_links<M: ReadableMessage>(request: &M) -> bool {
    let mut expected = [&b".well-known"[..], b"core"].into_iter();
    let mut path = request.options().filter(|option| option.number() == option::URI_PATH);
    path.all(|segment| expected.next() == Some(segment.value())) && expected.next().is_none()
}

/// Writes all links, as RFC 6690 §2 has them. Behind a reference to a trait object, so that there is one of it in a program.
fn write_links(handler: &impl Reporting, mut to: &mut dyn Write) -> fmt::Result {
    let mut is_first = true;
    for record in handler.report() {
        to.write_str(if is_first { "<" } else { ",<" })?;
        is_first = false;
        let mut path = record.path().peekable();
        if path.peek().is_none() {
            // "If |resource name| is the empty string, set it to a single slash" (RFC 7252 §6.5). An empty target would be the
            // document itself.
            to.write_char('/')?;
        }
        for segment in path {
            to.write_char('/')?;
            write_segment(segment.as_ref(), to)?;
        }
        to.write_char('>')?;
        if let Some(rel) = record.rel() {
            write!(to, ";rel=\"{rel}\"")?;
        }
        for attribute in record.attributes() {
            attribute.write_link_format(&mut to)?;
        }
    }
    handler.write_extra_link_format(&mut to, &mut is_first)
}

/// Writes a segment of a path as a URI has it (RFC 3986 §3.3).
fn write_segment(segment: &str, to: &mut dyn Write) -> fmt::Result {
    for byte in segment.bytes() {
        match byte {
            // pchar
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b';'
            | b'='
            | b':'
            | b'@' => to.write_char(byte.into())?,
            _ => write!(to, "%{byte:02X}")?,
        }
    }
    Ok(())
}

/// A filter of a query: `name=value`, or `name=prefix*` (RFC 6690 §4.1).
#[derive(Clone, Copy)]
struct Filter<'q> {
    name: &'q [u8],
    pattern: &'q [u8],
    is_prefix: bool,
}

impl<'q> Filter<'q> {
    fn parse(query: &'q [u8]) -> Option<Self> {
        let mut parts = query.splitn(2, |byte| *byte == b'=');
        let name = parts.next().filter(|name| !name.is_empty())?;
        let pattern = parts.next()?;
        Some(match pattern.strip_suffix(b"*") {
            Some(pattern) => Self { name, pattern, is_prefix: true },
            None => Self { name, pattern, is_prefix: false },
        })
    }

    /// Whether the attribute's value is a list of values with spaces between them, each of which may match: relation types
    /// (RFC 6690 §2, §3).
    fn is_for_list(&self) -> bool {
        matches!(self.name, b"rt" | b"if" | b"rel")
    }

    fn begin(&self) -> Comparison<'q> {
        Comparison { rest: Some(self.pattern), is_prefix: self.is_prefix }
    }
}

/// What of a text that comes byte by byte is yet to come, so that it matches; `None` once it does not.
#[derive(Clone, Copy)]
struct Comparison<'q> {
    rest: Option<&'q [u8]>,
    is_prefix: bool,
}

impl<'q> Comparison<'q> {
    fn exactly(text: &'q [u8]) -> Self {
        Self { rest: Some(text), is_prefix: false }
    }

    fn push(&mut self, byte: u8) {
        self.rest = match self.rest {
            Some([first, rest @ ..]) if *first == byte => Some(rest),
            Some([]) if self.is_prefix => Some(&[]),
            _ => None,
        };
    }

    fn is_match(&self) -> bool {
        self.rest.is_some_and(<[u8]>::is_empty)
    }
}

/// Where in a document a byte is (RFC 6690 §2). Documents that are no such are walked as well, to some end.
#[derive(Clone, Copy)]
enum State {
    /// In front of a link.
    Between,
    /// Behind the `<`.
    Target,
    /// Behind a `>` or a value.
    After,
    /// Behind a `;`.
    Name,
    /// Behind the `=`.
    Value,
    /// In a value without quotes.
    Token,
    /// In one with quotes.
    Quoted,
    /// And there, behind a backslash.
    Escaped,
}

/// What a byte of a document is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// The comma between two links.
    Comma,
    /// The `<` in front of a target.
    Target,
    /// The `;` in front of an attribute.
    Attribute,
    InTarget,
    InName,
    InValue,
    /// Whatever else stands between them.
    Syntax,
}

impl State {
    /// What the next byte is, and where the one after that.
    fn step(self, byte: u8) -> (Piece, Self) {
        match (self, byte) {
            (Self::Between, b'<') => (Piece::Target, Self::Target),
            (Self::Target, b'>') => (Piece::Syntax, Self::After),
            (Self::Target, _) => (Piece::InTarget, Self::Target),
            (Self::Quoted, b'"') => (Piece::Syntax, Self::After),
            (Self::Quoted, b'\\') => (Piece::Syntax, Self::Escaped),
            (Self::Quoted | Self::Escaped, _) => (Piece::InValue, Self::Quoted),
            (_, b',') => (Piece::Comma, Self::Between),
            (Self::Between, _) => (Piece::Syntax, self),
            (_, b';') => (Piece::Attribute, Self::Name),
            (Self::After, _) => (Piece::Syntax, self),
            (Self::Name, b'=') => (Piece::Syntax, Self::Value),
            (Self::Name, _) => (Piece::InName, self),
            (Self::Value, b'"') => (Piece::Syntax, Self::Quoted),
            (Self::Value | Self::Token, _) => (Piece::InValue, Self::Token),
        }
    }
}

/// Looks for links that match a filter while a document passes.
struct Matcher<'q> {
    filter: Filter<'q>,
    state: State,
    /// Whether this is the attribute that is asked for. A target goes by the name `href`.
    name: Comparison<'q>,
    /// Whether the value is, as it stands.
    value: Comparison<'q>,
    /// And whether a target is without its percent-encoding: Uri-Query options have none left (RFC 7252 §6.4).
    decoded: Comparison<'q>,
    encoding: Encoding,
    /// Whether the link at hand matches.
    matches: bool,
    /// How many links were in front of it.
    link: usize,
    selected: Selected,
}

/// How far into a percent-encoded byte a target is.
#[derive(Clone, Copy)]
enum Encoding {
    Outside,
    Percent,
    Digit(u8),
}

impl<'q> Matcher<'q> {
    fn new(filter: Filter<'q>) -> Self {
        Self {
            filter,
            state: State::Between,
            name: Comparison::exactly(filter.name),
            value: filter.begin(),
            decoded: Comparison { rest: None, is_prefix: false },
            encoding: Encoding::Outside,
            matches: false,
            link: 0,
            selected: Selected::NONE,
        }
    }

    fn push(&mut self, byte: u8) {
        let (piece, state) = self.state.step(byte);
        self.state = state;
        match piece {
            Piece::Syntax => {}
            Piece::Comma => self.end_link(),
            Piece::Target => {
                self.end_attribute();
                b"href".iter().for_each(|byte| self.name.push(*byte));
                self.decoded = self.filter.begin();
                self.encoding = Encoding::Outside;
            }
            Piece::Attribute => self.end_attribute(),
            Piece::InTarget => {
                self.value.push(byte);
                self.decode(byte);
            }
            Piece::InName => self.name.push(byte),
            Piece::InValue if byte == b' ' && self.filter.is_for_list() => self.end_value(),
            Piece::InValue => self.value.push(byte),
        }
    }

    fn decode(&mut self, byte: u8) {
        let digit = char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        self.encoding = match (self.encoding, digit) {
            (Encoding::Outside, _) if byte == b'%' => Encoding::Percent,
            (Encoding::Percent, Some(high)) => Encoding::Digit(high << 4),
            (Encoding::Digit(high), Some(low)) => {
                self.decoded.push(high | low);
                Encoding::Outside
            }
            // Behind a percent sign, that is no URI, and what it is compared with does not matter.
            _ => {
                self.decoded.push(byte);
                Encoding::Outside
            }
        };
    }

    fn end_value(&mut self) {
        self.matches |= self.name.is_match() && (self.value.is_match() || self.decoded.is_match());
        self.value = self.filter.begin();
    }

    /// An attribute without a value ends as one with an empty value does.
    fn end_attribute(&mut self) {
        self.end_value();
        self.name = Comparison::exactly(self.filter.name);
        self.decoded.rest = None;
    }

    fn end_link(&mut self) {
        self.end_attribute();
        if core::mem::take(&mut self.matches) {
            self.selected.insert(self.link);
        }
        self.link += 1;
    }

    /// The links that match.
    fn finish(mut self) -> Selected {
        self.end_link();
        self.selected
    }
}

impl Write for Matcher<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

/// Some links of a document, by their position in it.
enum Selected {
    All,
    Some([u32; MAX_LINKS / 32]),
}

impl Selected {
    const NONE: Self = Self::Some([0; MAX_LINKS / 32]);

    /// One that there is no bit for makes it all of them, which is what a server that does not filter answers with (RFC 6690
    /// §4.1).
    fn insert(&mut self, link: usize) {
        if let Self::Some(bits) = self {
            match bits.get_mut(link / 32) {
                Some(bits) => *bits |= 1 << (link % 32),
                None => *self = Self::All,
            }
        }
    }

    fn contains(&self, link: usize) -> bool {
        match self {
            Self::All => true,
            Self::Some(bits) => bits.get(link / 32).is_some_and(|bits| bits & (1 << (link % 32)) != 0),
        }
    }

    fn and(mut self, other: Self) -> Self {
        match (&mut self, &other) {
            (Self::All, _) => other,
            (Self::Some(_), Self::All) => self,
            (Self::Some(bits), Self::Some(others)) => {
                bits.iter_mut().zip(others).for_each(|(bits, others)| *bits &= others);
                self
            }
        }
    }
}

/// Lets some links through to a window.
struct Selecting<'s, 'b> {
    window: Window<'b>,
    selected: &'s Selected,
    state: State,
    link: usize,
    /// The last link that was let through.
    written: Option<usize>,
}

impl Write for Selecting<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if matches!(self.selected, Selected::All) {
            self.window.push(text.as_bytes());
            return Ok(());
        }
        for byte in text.as_bytes() {
            let (piece, state) = self.state.step(*byte);
            self.state = state;
            if piece == Piece::Comma {
                self.link += 1;
            } else if self.selected.contains(self.link) {
                if self.written.replace(self.link).is_some_and(|last| last != self.link) {
                    self.window.push(b",");
                }
                self.window.push(core::slice::from_ref(byte));
            }
        }
        Ok(())
    }
}

/// Keeps the part of a text that begins at `start` and is as long as `block`, and takes note of the whole.
struct Window<'b> {
    start: usize,
    block: &'b mut [u8],
    kept: usize,
    total: usize,
    hasher: SipHasher24,
}

/// What a window has seen.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// How long the text is.
    total: usize,
    /// A hash of it. Whoever could choose the text has no reason to make two alike, so it has no key.
    digest: u64,
}

impl<'b> Window<'b> {
    fn new(start: usize, block: &'b mut [u8]) -> Self {
        Self { start, block, kept: 0, total: 0, hasher: SipHasher24::new() }
    }

    fn push(&mut self, text: &[u8]) {
        self.hasher.write(text);
        let free = self.block.get_mut(self.kept..).unwrap_or_default();
        let wanted = (self.start + self.kept).checked_sub(self.total).and_then(|skip| text.get(skip..));
        for (to, from) in free.iter_mut().zip(wanted.unwrap_or_default()) {
            *to = *from;
            self.kept += 1;
        }
        self.total += text.len();
    }

    fn seen(&self) -> Seen {
        Seen { total: self.total, digest: self.hasher.finish() }
    }
}
