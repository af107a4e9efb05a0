//! One request of the user as the exchanges that it takes (RFC 7959, RFC 9175), without I/O.

use core::time::Duration;

use coap_message::MinimalWritableMessage;
use coap_numbers::{code, option};
use rand_core::TryCryptoRng;

use super::block::Block;
use super::exchange::Exchange;
use super::message::{Header, Type};
use super::message_ids::MessageIds;
use super::options::{block_option, is_critical};
use super::uri::PathError;
use super::writer::Writer;
use super::{Code, Error, Message, MessageOption, Reply, Request, Token, TransmissionParameters};
use crate::Instant;
use crate::bytes::ByteString;

/// How long the tokens are that a client makes: "A client that is connected to the general Internet SHOULD use at least 32
/// bits of randomness" (RFC 7252 §5.3.1).
const TOKEN: usize = 4;

/// The longest message for a network of which nothing is known (RFC 7252 §4.6).
pub(super) const MAX_MESSAGE: usize = 1152;

/// The shortest that a client has room for: header, token, and a path.
pub(super) const MIN_MESSAGE: usize = 32;

/// The Echo option's value (RFC 9175 §2.2.1): what a server wants to hear again.
pub(super) type Echo = ByteString<40>;

/// Observe in a request (RFC 7641 §2).
pub(super) const REGISTER: u8 = 0;
/// Observe in a request (RFC 7641 §2).
pub(super) const DEREGISTER: u8 = 1;

/// How often a download begins anew because what is there has changed meanwhile.
const MAX_RESTARTS: u8 = 3;

/// What a response has in front of its payload, as long as nobody knows: header, token, ETag, Observe, Content-Format,
/// Max-Age, Block2, Size2 and the marker are 40 bytes.
const RESPONSE_FRONT: usize = 40;

/// The most bytes that these options take: one to three for a number that is far from the one before, and the value.
const BLOCK_OPTION: usize = 2 + 3;
const SIZE_OPTION: usize = 2 + 4;
const TAG_OPTION: usize = 3 + Token::MAX;
/// The most bytes in front of an Echo option's value.
const ECHO_FRONT: usize = 3;

/// Why a transfer cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Path,
    RequestTooLong,
    ReplyTooLong,
    BlockMismatch,
    Changing,
}

impl Failure {
    pub(super) fn into_error<E>(self) -> Error<E> {
        match self {
            Self::Path => Error::Path,
            Self::RequestTooLong => Error::RequestTooLong,
            Self::ReplyTooLong => Error::ReplyTooLong,
            Self::BlockMismatch => Error::BlockMismatch,
            Self::Changing => Error::Changing,
        }
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Invalid => Self::Path,
            PathError::TooLong => Self::RequestTooLong,
        }
    }
}

/// What a response means for the transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The next message is to be sent, and it says nothing new of the payload.
    Again,
    /// The next message is to be sent: the server has more of the payload.
    Sent,
    /// The next message is to be sent: there is more of the reply, but not all.
    Part,
    /// The reply is there.
    Done,
}

/// A message that is to be sent.
#[derive(Clone, Copy)]
pub(super) struct Outgoing {
    pub(super) header: Header,
    /// How many bytes of its buffer it has.
    pub(super) len: usize,
    /// What spreads the first timeout of a Confirmable message.
    pub(super) random: Option<u32>,
}

impl Outgoing {
    /// Its exchange, which begins now.
    pub(super) fn exchange(
        &self,
        deadline: Duration,
        parameters: TransmissionParameters,
        now: Instant,
    ) -> Exchange {
        let token = self.header.code.is_request().then_some(self.header.token);
        Exchange::new(self.header.message_id, token, self.random, deadline, parameters, now)
    }
}

/// A new token.
pub(super) fn draw_token<R: TryCryptoRng, E>(rng: &mut R) -> Result<Token, Error<E>> {
    let mut token = [0; TOKEN];
    rng.try_fill_bytes(&mut token).map_err(|_| Error::Random)?;
    Ok(Token::new(&token).unwrap_or_default())
}

/// A reply of which more is to come.
#[derive(Clone, Copy)]
struct Download {
    /// How much of the body is there.
    offset: usize,
    /// SZX that was agreed.
    szx: u8,
    /// How many bytes the first response had in front of its payload.
    front: usize,
    etag: Option<ByteString<8>>,
    content_format: Option<u32>,
}

/// One request with what has been agreed on so far.
///
/// The reply is assembled in place, in a buffer of the shell's: its first message stays at the front of the buffer with
/// [`received`](Self::received) bytes, each further response is put behind them, and its payload is moved down to the others. In
/// the end the buffer holds one message with the whole body and the options of its first block.
pub(super) struct Transfer<'r> {
    request: Request<'r>,
    observe: Option<u8>,
    /// Whether the blocks of the reply are taken one by one, and not assembled.
    one_by_one: bool,
    /// SZX of the blocks of the payload, once it goes in blocks.
    szx: Option<u8>,
    /// Request-Tag (RFC 9175 §3) of the blocks of the payload, which is the token of the first.
    tag: Option<Token>,
    /// How much of the payload the server has.
    acknowledged: usize,
    /// How much of it it has with the message at hand.
    sent: usize,
    download: Option<Download>,
    received: usize,
    /// Where the newest part begins in the body.
    part: usize,
    /// How many bytes the message has that it came in.
    newest: usize,
    total: Option<u32>,
    restarts: u8,
    echo: Option<Echo>,
    /// Whether the server refuses messages without an Echo.
    needs_echo: bool,
    /// Whether the message at hand was refused for its Echo and is sent again.
    challenged: bool,
}

impl<'r> Transfer<'r> {
    /// The transfer of `request`, whose first message carries `echo`.
    pub(super) fn new(request: Request<'r>, echo: Option<Echo>) -> Self {
        Self {
            request,
            observe: None,
            one_by_one: false,
            szx: None,
            tag: None,
            acknowledged: 0,
            sent: 0,
            download: None,
            received: 0,
            part: 0,
            newest: 0,
            total: None,
            restarts: 0,
            echo,
            needs_echo: false,
            challenged: false,
        }
    }

    /// With an Observe option in the request (RFC 7641 §2).
    pub(super) fn observing(self, observe: u8) -> Self {
        Self { observe: Some(observe), ..self }
    }

    /// Each block of the reply takes the place of the one before it, and the server is asked how many bytes there will be.
    pub(super) fn one_by_one(self) -> Self {
        Self { one_by_one: true, ..self }
    }

    /// The bytes at the front of the buffer that are the reply so far.
    pub(super) const fn received(&self) -> usize {
        self.received
    }

    /// How much of the payload the server has.
    pub(super) const fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// Where in the body the newest part begins.
    pub(super) const fn part(&self) -> usize {
        self.part
    }

    /// How many bytes at the front of the buffer are the newest block's message, where they are taken one by one.
    pub(super) const fn newest(&self) -> usize {
        self.newest
    }

    /// How long the body is, where the server told with Size2 (RFC 7959 §4).
    pub(super) const fn total(&self) -> Option<u32> {
        self.total
    }

    /// Whether the next message carries an Echo.
    pub(super) const fn has_echo(&self) -> bool {
        self.echo.is_some()
    }

    /// The message at hand was not sent after all, for its Echo is not for this server.
    pub(super) fn forget_echo(&mut self) {
        (self.echo, self.needs_echo, self.challenged) = (None, false, false);
    }

    /// Whether the payload goes in blocks.
    pub(super) const fn has_block1(&self) -> bool {
        self.szx.is_some()
    }

    /// The Echo value for the next request to the server.
    pub(super) fn take_echo(&mut self) -> Option<Echo> {
        self.echo.take()
    }

    /// Makes the next message in `buffer`, which is as long as a message may be, with a token of its own unless one is given. The
    /// responses to it will be put into a buffer of `capacity` bytes.
    pub(super) fn next_message<R: TryCryptoRng, E>(
        &mut self,
        token: Option<Token>,
        message_ids: &mut MessageIds,
        rng: &mut R,
        buffer: &mut [u8],
        capacity: usize,
    ) -> Result<Outgoing, Error<E>> {
        let message_id = message_ids.peek(rng).map_err(|_| Error::Random)?;
        let header = Header {
            kind: if self.request.confirmable { Type::Confirmable } else { Type::NonConfirmable },
            code: self.request.code().ok_or(Error::Method)?,
            message_id,
            token: match token {
                Some(token) => token,
                None => draw_token(rng)?,
            },
        };
        let random = match header.kind {
            Type::Confirmable => Some(rng.try_next_u32().map_err(|_| Error::Random)?),
            _ => None,
        };
        let len = self.emit(&header, buffer, capacity).map_err(Failure::into_error)?;
        message_ids.used(message_id);
        Ok(Outgoing { header, len, random })
    }

    /// Writes the next message into `buffer`, and returns its length.
    fn emit(&mut self, header: &Header, buffer: &mut [u8], capacity: usize) -> Result<usize, Failure> {
        let max = buffer.len();
        let reply_room = capacity.min(max).saturating_sub(RESPONSE_FRONT);
        let echo = self.echo;
        let mut writer = Writer::new(buffer, header).ok_or(Failure::RequestTooLong)?;
        match self.download {
            // "further requests with the same options as the initial request and a Block2 Option giving the block number and
            // block size desired" (RFC 7959 §2.4), but Observe (§3.4), Block1 and the payload (§2.7, §3.3).
            Some(download) => {
                self.request.write_options(&mut writer, None)?;
                // Its number may be two bytes longer than that of the first.
                let room = capacity.saturating_sub(self.received).min(max).saturating_sub(download.front + 2);
                let block = self.next_block(&download, room)?;
                add_uint(&mut writer, option::BLOCK2, block.value())?;
                self.download = Some(Download { szx: block.szx, ..download });
            }
            None => {
                self.request.write_options(&mut writer, self.observe)?;
                let payload = self.request.payload;
                // "the requester MAY also use the Block2 Option on the initial request, giving the desired size, a block number
                // of zero" (§2.4). Where any size suits, there is nothing to say.
                let early = Block::first(reply_room).szx.min(self.request.szx.unwrap_or(Block::MAX_SZX));
                let early = (early < Block::MAX_SZX).then_some(Block { number: 0, more: false, szx: early });
                // What is around the payload, and what more there is around a block.
                let around = writer.front()
                    + 1
                    + early.map_or(0, |_| BLOCK_OPTION)
                    + usize::from(self.one_by_one)
                    + echo.map_or(0, |echo| ECHO_FRONT + echo.len());
                let more = BLOCK_OPTION + SIZE_OPTION + TAG_OPTION;
                let longest = self.request.szx.map_or(usize::MAX, |szx| 16 << szx);
                if self.szx.is_none() && payload.len() <= longest.min(max.saturating_sub(around)) {
                    self.sent = payload.len();
                    add_early(&mut writer, early)?;
                    add_size_request(&mut writer, self.one_by_one)?;
                } else {
                    let block = self.next_payload_block(max.saturating_sub(around + more).min(longest))?;
                    // Only the last block is answered with a part of the reply (§3.3, figure 11).
                    add_early(&mut writer, early.filter(|_| !block.more))?;
                    add_uint(&mut writer, option::BLOCK1, block.value())?;
                    add_size_request(&mut writer, self.one_by_one && !block.more)?;
                    if block.number == 0 {
                        self.tag = Some(header.token);
                        let size = u32::try_from(payload.len()).map_err(|_| Failure::RequestTooLong)?;
                        add_uint(&mut writer, option::SIZE1, size)?;
                    }
                }
            }
        }
        if let Some(echo) = echo {
            add(&mut writer, option::ECHO, echo.as_bytes())?;
            // "the client SHOULD echo the Echo option value in the next request" (RFC 9175 §2.3). It "MAY include the same
            // Echo option value in several different requests", which saves a round trip per block where it is asked for.
            if !self.needs_echo {
                self.echo = None;
            }
        }
        // "When Block1 and Block2 are combined in an operation, the Request-Tag of the Block1 phase is set in the Block2 phase
        // as well" (RFC 9175 §3.4).
        if let Some(tag) = self.tag {
            add(&mut writer, option::REQUEST_TAG, tag.as_bytes())?;
        }
        if self.download.is_none() {
            let part = self.request.payload.get(self.acknowledged..self.sent).unwrap_or_default();
            writer.set_payload(part).map_err(|_| Failure::RequestTooLong)?;
            if writer.is_part() {
                return Err(Failure::RequestTooLong);
            }
        }
        Ok(writer.finish())
    }

    /// The block of the reply that is asked for next, of a message that `room` bytes hold.
    ///
    /// The size stays what was agreed on, as §2.4 wants it, unless only a smaller block fits into what is left of the buffer.
    fn next_block(&self, download: &Download, room: usize) -> Result<Block, Failure> {
        // Nothing would fit into less.
        if room < 16 {
            return Err(Failure::ReplyTooLong);
        }
        let szx = download.szx.min(self.request.szx.unwrap_or(Block::MAX_SZX)).min(Block::first(room).szx);
        Block::at(download.offset, false, szx).ok_or(Failure::ReplyTooLong)
    }

    /// The block of the payload that is sent next, of at most `room` bytes.
    fn next_payload_block(&mut self, room: usize) -> Result<Block, Failure> {
        if room < 16 {
            return Err(Failure::RequestTooLong);
        }
        let szx = self.szx.unwrap_or(Block::MAX_SZX).min(Block::first(room).szx);
        self.szx = Some(szx);
        let total = self.request.payload.len();
        self.sent = total.min(self.acknowledged.saturating_add(16 << szx));
        // The payload is at most 2^20 blocks long.
        Block::at(self.acknowledged, self.sent < total, szx).ok_or(Failure::RequestTooLong)
    }

    /// Whether the critical options of a response to the message at hand are understood (RFC 7252 §5.4.1).
    pub(super) fn understands(&self, response: &Message<'_>) -> bool {
        understands(response, self.has_block1())
    }

    /// Takes the response to the message at hand, of `len` bytes behind those of the reply so far.
    pub(super) fn on_response(&mut self, buffer: &mut [u8], len: usize) -> Result<Step, Failure> {
        let datagram = buffer.get(self.received..).and_then(|tail| tail.get(..len));
        let message = datagram.and_then(|datagram| Message::parse(datagram).ok());
        let message = message.ok_or(Failure::ReplyTooLong)?;
        let code = message.header().code;
        self.newest = len;

        // "Upon receiving a 4.01 (Unauthorized) response with the Echo option, the client SHOULD resend the original request
        // with the addition of an Echo option with the received Echo option value" (RFC 9175 §2.3); once, or a server could
        // ask for ever.
        if let Some(echo) = find(&message, option::ECHO).and_then(|echo| Echo::new(echo.bytes()))
            && !echo.is_empty()
        {
            self.echo = Some(echo);
            if code == code::UNAUTHORIZED && !self.challenged {
                (self.needs_echo, self.challenged) = (true, true);
                return Ok(Step::Again);
            }
        }

        if self.download.is_some() {
            return self.on_block(buffer, len);
        }
        let total = self.request.payload.len();
        if let Some(step) = self.on_payload_block(code, block_option(&message, option::BLOCK1), total)? {
            return Ok(step);
        }
        self.on_first_block(&message, len)
    }

    /// What a response says of the payload; `None` where it is about the whole request.
    fn on_payload_block(
        &mut self,
        code: Code,
        block1: Option<Block>,
        total: usize,
    ) -> Result<Option<Step>, Failure> {
        let size = self.szx.map_or(total, |szx| 16 << szx);
        // "a 4.13 response with a smaller SZX in its Block1 Option than requested is a hint to try a smaller SZX", and one "to a
        // request that does not employ Block1 is a hint for the client to try sending Block1" (RFC 7959 §2.5).
        if code == code::REQUEST_ENTITY_TOO_LARGE
            && self.acknowledged == 0
            && let Some(block) = block1
            && block.len() < size
        {
            self.szx = Some(block.szx);
            self.challenged = false;
            return Ok(Some(Step::Again));
        }
        if self.sent < total && code.is_success() {
            let Some(szx) = self.szx else { return Err(Failure::BlockMismatch) };
            // The number is that of the request, in its size or in the one that the response asks for (§3.2, figure 9).
            if let Some(block) = block1 {
                let sent = Block::at(self.acknowledged, true, szx);
                let is_ours =
                    block.offset() == self.acknowledged || sent.map(|sent| sent.number) == Some(block.number);
                if !is_ours {
                    return Err(Failure::BlockMismatch);
                }
                // "the client SHOULD use this block size or a smaller one in all further requests" (§2.3).
                self.szx = Some(szx.min(block.szx));
            }
            // Whether it is a 2.31 or, from a server that takes each block by itself, another success: "the client is still
            // expected to continue sending further blocks" (§2.3).
            self.acknowledged = self.sent;
            self.challenged = false;
            return Ok(Some(Step::Sent));
        }
        // There is nothing to continue with.
        if code == code::CONTINUE {
            return Err(Failure::BlockMismatch);
        }
        Ok(None)
    }

    /// Takes the first response that is about the whole request.
    fn on_first_block(&mut self, message: &Message<'_>, len: usize) -> Result<Step, Failure> {
        let payload = message.payload_bytes().len();
        self.acknowledged = self.request.payload.len();
        self.part = 0;
        self.total = size2(message);
        let Some(block) = block_option(message, option::BLOCK2) else {
            self.received = len;
            return Ok(Step::Done);
        };
        if block.number != 0 {
            return Err(Failure::BlockMismatch);
        }
        // Blocks of a diagnostic payload would say no more than that it is one.
        if !block.more || !message.header().code.is_success() {
            self.received = len;
            return Ok(Step::Done);
        }
        // "The block size implied by SZX MUST match the size of the payload in bytes, if the M bit is set" (§2.3).
        if payload != block.len() {
            return Err(Failure::BlockMismatch);
        }
        self.challenged = false;
        self.download = Some(Download {
            offset: payload,
            szx: block.szx,
            front: len.saturating_sub(payload),
            etag: etag(message),
            content_format: content_format(message),
        });
        self.received = if self.one_by_one { 0 } else { len };
        Ok(Step::Part)
    }

    /// Takes a further block of the reply.
    fn on_block(&mut self, buffer: &mut [u8], len: usize) -> Result<Step, Failure> {
        let start = self.received;
        let tail = buffer.get(start..).and_then(|tail| tail.get(..len));
        let message = tail.and_then(|tail| Message::parse(tail).ok()).ok_or(Failure::ReplyTooLong)?;
        let download = self.download.ok_or(Failure::BlockMismatch)?;
        if !message.header().code.is_success() {
            // The reply is that there is none any more.
            buffer.copy_within(start..start + len, 0);
            self.part = 0;
            self.received = len;
            return Ok(Step::Done);
        }
        // "the client, when reassembling the representation from the blocks being exchanged, MUST compare ETag Options" (§2.4);
        // with another Content-Format (§2.3), it is another representation as well.
        if !same(etag(&message), download.etag) || content_format(&message) != download.content_format {
            self.restart()?;
            return Ok(Step::Again);
        }
        let block = block_option(&message, option::BLOCK2).ok_or(Failure::BlockMismatch)?;
        let payload = message.payload_bytes().len();
        if block.offset() != download.offset
            || block.szx > download.szx
            || (block.more && payload != block.len())
        {
            return Err(Failure::BlockMismatch);
        }
        self.total = size2(&message).or(self.total);
        self.part = download.offset;
        self.challenged = false;
        if !self.one_by_one {
            // The payload is the end of its message.
            buffer.copy_within(start + len - payload..start + len, start);
            self.received = start + payload;
        } else if !block.more {
            self.received = len;
        }
        if !block.more {
            return Ok(Step::Done);
        }
        self.download = Some(Download { offset: download.offset + payload, szx: block.szx, ..download });
        Ok(Step::Part)
    }

    /// Begins anew: what is there is not what was there before.
    ///
    /// "If the ETag Options do not match in a GET transfer, the requester has the option of attempting to retrieve fresh values
    /// for the blocks it retrieved first" (§2.4). What a POST has done must not be done once more.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        if self.restarts >= MAX_RESTARTS || !self.request.is_safe() {
            return Err(Failure::Changing);
        }
        self.restarts += 1;
        self.download = None;
        self.received = 0;
        self.acknowledged = 0;
        self.challenged = false;
        // Whoever observes does so already.
        self.observe = None;
        Ok(())
    }
}

/// Whether the critical options of a response are understood (RFC 7252 §5.4.1): the Block options are, where they are in place.
pub(super) fn understands(response: &Message<'_>, to_block1: bool) -> bool {
    // An error such as 4.13 may say with a Block1 which size would suit the server (RFC 7959 §2.9.3).
    let may_have_block1 = to_block1 || !response.header().code.is_success();
    response.option_iter().all(|option| match coap_message::MessageOption::number(&option) {
        option::BLOCK1 => may_have_block1 && Block::parse(&option).is_ok(),
        option::BLOCK2 => Block::parse(&option).is_ok(),
        number => !is_critical(number),
    })
}

/// The reply that is in the first `len` bytes of a buffer.
pub(super) fn reply<E>(buffer: &[u8], len: usize) -> Result<Reply<'_>, Error<E>> {
    let message = buffer.get(..len).and_then(|datagram| Message::parse(datagram).ok());
    // It says of the first block what does not hold for the whole.
    message.map(|message| Reply::new(message.without(&[option::BLOCK2]))).ok_or(Error::ReplyTooLong)
}

fn find<'a>(message: &Message<'a>, number: u16) -> Option<MessageOption<'a>> {
    message.option_iter().find(|option| coap_message::MessageOption::number(option) == number)
}

fn etag(message: &Message<'_>) -> Option<ByteString<8>> {
    find(message, option::ETAG).and_then(|etag| ByteString::new(etag.bytes()))
}

fn same(one: Option<ByteString<8>>, other: Option<ByteString<8>>) -> bool {
    one.as_ref().map(ByteString::as_bytes) == other.as_ref().map(ByteString::as_bytes)
}

fn content_format(message: &Message<'_>) -> Option<u32> {
    find(message, option::CONTENT_FORMAT).and_then(|format| format.uint(2))
}

fn size2(message: &Message<'_>) -> Option<u32> {
    find(message, option::SIZE2).and_then(|size| size.uint(4))
}

fn add(writer: &mut Writer<'_>, number: u16, value: &[u8]) -> Result<(), Failure> {
    writer.add_option(number, value).map_err(|_| Failure::RequestTooLong)
}

fn add_uint(writer: &mut Writer<'_>, number: u16, value: u32) -> Result<(), Failure> {
    writer.add_option_uint(number, value).map_err(|_| Failure::RequestTooLong)
}

fn add_early(writer: &mut Writer<'_>, block: Option<Block>) -> Result<(), Failure> {
    block.map_or(Ok(()), |block| add_uint(writer, option::BLOCK2, block.value()))
}

/// "In a request, to ask the server to provide a size estimate along with the usual response [...] the value MUST be set to 0"
/// (RFC 7959 §4).
fn add_size_request(writer: &mut Writer<'_>, wanted: bool) -> Result<(), Failure> {
    if wanted { add(writer, option::SIZE2, &[]) } else { Ok(()) }
}
