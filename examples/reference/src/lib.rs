#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
//! The CoAP resources that all example programs of `dtls-psk` share, on hosts and on boards.
//!
//! | path | | |
//! |---|---|---|
//! | `/led` | GET | `0` or `1` |
//! | | PUT, POST | `0`, `1` or `toggle`: 2.04; anything else: 4.00 with a diagnostic payload |
//! | `/temperature` | GET | degrees Celsius with one decimal, such as `21.5` |
//! | `/about` | GET | a text of some thousand bytes, longer than a message |
//! | `/firmware` | PUT | takes an image; one that there is no room for is 4.13 |
//! | | GET | the image's length and its CRC-32, such as `65536 bytes, CRC-32 d7978eeb` |
//! | `/.well-known/core` | GET | what is there, as links (RFC 6690) |
//!
//! `/led` and `/temperature` can be observed ([`OBSERVABLE`]).
//!
//! ```
//! use dtls_psk_reference::{SimulatedBoard, resources};
//!
//! // The second argument hears of what requests change.
//! let handler = resources(SimulatedBoard::default(), |path| println!("{path} has changed"));
//! // Hand it to `dtls_psk::coap::Server::run`.
//! # fn is_handler(_: impl coap_handler::Handler) {}
//! # is_handler(handler);
//! ```

use core::cell::RefCell;
use core::fmt::{self, Write};

use coap_handler::{Attribute, Handler, Reporting};
use coap_handler_implementations::wkc::ConstantSliceRecord;
use coap_message::{
    Code, MessageOption, MinimalWritableMessage, MutableWritableMessage, OptionNumber, ReadableMessage,
};
use coap_message_utils::{Error, OptionsExt};
use coap_numbers::{code, option};
use crc::{CRC_32_ISO_HDLC, Crc};
use dtls_psk::coap::WellKnownCore;

/// What the resources need of a board.
pub trait Board {
    /// Whether the LED is on.
    fn led(&self) -> bool;
    /// Switches the LED.
    fn set_led(&mut self, on: bool);
    /// Measures the temperature, in thousandths of a degree Celsius.
    fn temperature_millicelsius(&mut self) -> i32;
    /// Installs a firmware image. `false` where there is no room for it.
    fn install(&mut self, image: &[u8]) -> bool;
    /// What is installed.
    fn firmware(&self) -> Firmware;
}

/// What is known of a firmware image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Firmware {
    /// Its length in bytes.
    pub len: usize,
    /// Its CRC-32, as zlib and Ethernet have it.
    pub crc32: u32,
}

impl Firmware {
    /// Of this image.
    pub fn of(image: &[u8]) -> Self {
        Self { len: image.len(), crc32: Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(image) }
    }
}

/// The paths of the resources that change.
pub const OBSERVABLE: [&str; 2] = ["/led", "/temperature"];

/// What `/about` says.
pub const ABOUT: &str = include_str!("about.txt");

/// A board without hardware, for hosts.
///
/// ```
/// use dtls_psk_reference::{Board, SimulatedBoard};
///
/// let mut board = SimulatedBoard::default();
/// board.set_led(true);
/// assert!(board.led());
/// assert_eq!(board.temperature_millicelsius(), 21_500);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatedBoard {
    /// Whether the LED is on.
    pub led: bool,
    /// What the thermometer shows, in thousandths of a degree Celsius.
    pub temperature_millicelsius: i32,
    /// The image that was installed last.
    pub firmware: Firmware,
}

impl Default for SimulatedBoard {
    /// The LED is off, and it is 21.5 °C.
    fn default() -> Self {
        Self { led: false, temperature_millicelsius: 21_500, firmware: Firmware::default() }
    }
}

impl Board for SimulatedBoard {
    fn led(&self) -> bool {
        self.led
    }

    fn set_led(&mut self, on: bool) {
        self.led = on;
    }

    fn temperature_millicelsius(&mut self) -> i32 {
        self.temperature_millicelsius
    }

    fn install(&mut self, image: &[u8]) -> bool {
        self.firmware = Firmware::of(image);
        true
    }

    fn firmware(&self) -> Firmware {
        self.firmware
    }
}

/// A board that is lent to the resources.
impl<B: Board + ?Sized> Board for &mut B {
    fn led(&self) -> bool {
        B::led(self)
    }

    fn set_led(&mut self, on: bool) {
        B::set_led(self, on);
    }

    fn temperature_millicelsius(&mut self) -> i32 {
        B::temperature_millicelsius(self)
    }

    fn install(&mut self, image: &[u8]) -> bool {
        B::install(self, image)
    }

    fn firmware(&self) -> Firmware {
        B::firmware(self)
    }
}

/// And one that others see as well.
impl<B: Board + ?Sized> Board for &RefCell<B> {
    fn led(&self) -> bool {
        self.borrow().led()
    }

    fn set_led(&mut self, on: bool) {
        self.borrow_mut().set_led(on);
    }

    fn temperature_millicelsius(&mut self) -> i32 {
        self.borrow_mut().temperature_millicelsius()
    }

    fn install(&mut self, image: &[u8]) -> bool {
        self.borrow_mut().install(image)
    }

    fn firmware(&self) -> Firmware {
        self.borrow().firmware()
    }
}

/// The resources of a board. `changed` hears the path of each one that a request has changed.
pub fn resources(board: impl Board, changed: impl FnMut(&'static str)) -> impl Handler + Reporting {
    WellKnownCore::new(Resources { board, changed })
}

/// `text/plain; charset=utf-8` in the Content-Formats registry.
const TEXT: u16 = 0;
/// `application/octet-stream`.
const OCTET_STREAM: u16 = 42;

struct Resources<B, C> {
    board: B,
    changed: C,
}

/// A response that is decided and yet to be written.
enum Response {
    Led(bool),
    Temperature(i32),
    About,
    Firmware(Firmware),
    Changed,
    BadRequest(&'static str),
    TooLarge,
}

#[derive(Clone, Copy)]
enum Resource {
    Led,
    Temperature,
    About,
    Firmware,
}

impl<B: Board, C: FnMut(&'static str)> Resources<B, C> {
    fn switch(&mut self, payload: &[u8]) -> Response {
        let on = match payload {
            b"0" => false,
            b"1" => true,
            b"toggle" => !self.board.led(),
            _ => return Response::BadRequest("send 0, 1 or toggle"),
        };
        if on != self.board.led() {
            self.board.set_led(on);
            (self.changed)("/led");
        }
        Response::Changed
    }

    fn install(&mut self, image: &[u8]) -> Response {
        if self.board.install(image) { Response::Changed } else { Response::TooLarge }
    }
}

impl<B: Board, C: FnMut(&'static str)> Handler for Resources<B, C> {
    type RequestData = Response;
    type ExtractRequestError = Error;
    type BuildResponseError<M: MinimalWritableMessage> = M::UnionError;

    fn extract_request_data<M: ReadableMessage>(&mut self, request: &M) -> Result<Response, Error> {
        let mut segments = 0;
        let mut resource = None;
        request
            .options()
            .ignore_uri_host()
            .take_uri_path(|segment| {
                segments += 1;
                resource = match segment {
                    "led" => Some(Resource::Led),
                    "temperature" => Some(Resource::Temperature),
                    "about" => Some(Resource::About),
                    "firmware" => Some(Resource::Firmware),
                    _ => None,
                };
            })
            // All of them are text, so this is all there is to ask for.
            .filter(|option| {
                !(matches!(option.number(), option::ACCEPT) && option.value_uint() == Some(TEXT))
            })
            .ignore_elective_others()?;
        let resource = resource.filter(|_| segments == 1).ok_or_else(Error::not_found)?;
        let content_format = || {
            let option = request.options().find(|option| option.number() == option::CONTENT_FORMAT);
            option.map(|option| option.value_uint::<u16>())
        };

        match (resource, request.code().into()) {
            (Resource::Led, code::GET) => Ok(Response::Led(self.board.led())),
            (Resource::Led, code::PUT | code::POST) => match content_format() {
                None | Some(Some(TEXT)) => Ok(self.switch(request.payload())),
                Some(_) => Err(Error::unsupported_content_format()),
            },
            (Resource::Temperature, code::GET) => {
                Ok(Response::Temperature(self.board.temperature_millicelsius()))
            }
            (Resource::About, code::GET) => Ok(Response::About),
            (Resource::Firmware, code::GET) => Ok(Response::Firmware(self.board.firmware())),
            (Resource::Firmware, code::PUT) => match content_format() {
                None | Some(Some(OCTET_STREAM)) => Ok(self.install(request.payload())),
                Some(_) => Err(Error::unsupported_content_format()),
            },
            _ => Err(Error::method_not_allowed()),
        }
    }

    fn estimate_length(&mut self, response: &Response) -> usize {
        match response {
            Response::About => ABOUT.len(),
            // Options and the longest payload.
            _ => 64,
        }
    }

    fn build_response<M: MutableWritableMessage>(
        &mut self,
        response: &mut M,
        data: Response,
    ) -> Result<(), M::UnionError> {
        let code = match data {
            Response::Changed => code::CHANGED,
            Response::BadRequest(_) => code::BAD_REQUEST,
            Response::TooLarge => code::REQUEST_ENTITY_TOO_LARGE,
            _ => code::CONTENT,
        };
        response.set_code(M::Code::new(code)?);
        if code == code::CONTENT {
            response.add_option_uint(M::OptionNumber::new(option::CONTENT_FORMAT)?, TEXT)?;
        }
        let mut text = Text::EMPTY;
        // The buffer is long enough for each of them.
        let payload = match data {
            Response::Led(on) => {
                if on {
                    "1"
                } else {
                    "0"
                }
            }
            Response::Temperature(millicelsius) => {
                let _ = write_celsius(&mut text, millicelsius);
                text.as_str()
            }
            Response::About => ABOUT,
            Response::Firmware(Firmware { len, crc32 }) => {
                let _ = write!(text, "{len} bytes, CRC-32 {crc32:08x}");
                text.as_str()
            }
            Response::Changed | Response::TooLarge => "",
            Response::BadRequest(diagnostic) => diagnostic,
        };
        response.set_payload(payload.as_bytes())?;
        Ok(())
    }
}

impl<B: Board, C: FnMut(&'static str)> Reporting for Resources<B, C> {
    type Record<'a>
        = ConstantSliceRecord<'a>
    where
        Self: 'a;
    type Reporter<'a>
        = core::array::IntoIter<ConstantSliceRecord<'a>, 4>
    where
        Self: 'a;

    fn report(&self) -> Self::Reporter<'_> {
        [
            ConstantSliceRecord::new_with_path(
                &["led"],
                &[
                    Attribute::ResourceType("led"),
                    Attribute::Interface("core.a"),
                    Attribute::Ct(TEXT),
                    Attribute::Observable,
                ],
            ),
            ConstantSliceRecord::new_with_path(
                &["temperature"],
                &[
                    Attribute::ResourceType("temperature"),
                    Attribute::Interface("core.s"),
                    Attribute::Ct(TEXT),
                    Attribute::Observable,
                ],
            ),
            ConstantSliceRecord::new_with_path(
                &["about"],
                const { &[Attribute::Title("About"), Attribute::Ct(TEXT), Attribute::Sz(ABOUT.len())] },
            ),
            ConstantSliceRecord::new_with_path(
                &["firmware"],
                &[Attribute::ResourceType("firmware"), Attribute::Ct(TEXT)],
            ),
        ]
        .into_iter()
    }
}

/// Writes degrees Celsius with one decimal, rounded to the nearest.
fn write_celsius(to: &mut impl Write, millicelsius: i32) -> fmt::Result {
    let tenths = (millicelsius.unsigned_abs() + 50) / 100;
    let sign = if millicelsius < 0 && tenths > 0 { "-" } else { "" };
    write!(to, "{sign}{}.{}", tenths / 10, tenths % 10)
}

/// A few characters on the stack.
struct Text {
    bytes: [u8; 48],
    len: usize,
}

impl Text {
    const EMPTY: Self = Self { bytes: [0; 48], len: 0 };

    fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|text| core::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_are_rounded_to_one_decimal() {
        for (millicelsius, expected) in [
            (21_500, "21.5"),
            (0, "0.0"),
            (-40, "0.0"),
            (-500, "-0.5"),
            (-12_349, "-12.3"),
            (99_950, "100.0"),
            (i32::MAX, "2147483.6"),
            (i32::MIN, "-2147483.6"),
        ] {
            let mut text = Text::EMPTY;
            write_celsius(&mut text, millicelsius).unwrap();
            assert_eq!(text.as_str(), expected);
        }
    }
}
