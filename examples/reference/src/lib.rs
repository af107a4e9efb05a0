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
//! | `/.well-known/core` | GET | what is there, as links (RFC 6690) |
//!
//! ```
//! use dtls_psk_reference::{SimulatedBoard, resources};
//!
//! let handler = resources(SimulatedBoard::default());
//! // Hand it to `dtls_psk::coap::Server::run`.
//! # fn is_handler(_: impl coap_handler::Handler) {}
//! # is_handler(handler);
//! ```

use core::fmt::{self, Write};

use coap_handler::{Attribute, Handler, Reporting};
use coap_handler_implementations::ReportingHandlerBuilder;
use coap_handler_implementations::wkc::ConstantSliceRecord;
use coap_message::{
    Code, MessageOption, MinimalWritableMessage, MutableWritableMessage, OptionNumber, ReadableMessage,
};
use coap_message_utils::{Error, OptionsExt};
use coap_numbers::{code, option};

/// What the resources need of a board.
pub trait Board {
    /// Whether the LED is on.
    fn led(&self) -> bool;
    /// Switches the LED.
    fn set_led(&mut self, on: bool);
    /// Measures the temperature, in thousandths of a degree Celsius.
    fn temperature_millicelsius(&mut self) -> i32;
}

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
}

impl Default for SimulatedBoard {
    /// The LED is off, and it is 21.5 °C.
    fn default() -> Self {
        Self { led: false, temperature_millicelsius: 21_500 }
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
}

/// The resources of a board.
pub fn resources(board: impl Board) -> impl Handler + Reporting {
    Resources(board).with_wkc()
}

/// `text/plain; charset=utf-8` in the Content-Formats registry.
const TEXT: u16 = 0;

struct Resources<B>(B);

/// A response that is decided and yet to be written.
enum Response {
    Led(bool),
    Temperature(i32),
    Changed,
    BadRequest(&'static str),
}

enum Resource {
    Led,
    Temperature,
}

impl<B: Board> Resources<B> {
    fn switch(&mut self, payload: &[u8]) -> Response {
        let on = match payload {
            b"0" => false,
            b"1" => true,
            b"toggle" => !self.0.led(),
            _ => return Response::BadRequest("send 0, 1 or toggle"),
        };
        self.0.set_led(on);
        Response::Changed
    }
}

impl<B: Board> Handler for Resources<B> {
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
                    _ => None,
                };
            })
            // Both are text, so this is all there is to ask for and to send.
            .filter(|option| {
                !(matches!(option.number(), option::ACCEPT) && option.value_uint() == Some(TEXT))
            })
            .ignore_elective_others()?;
        let resource = resource.filter(|_| segments == 1).ok_or_else(Error::not_found)?;

        match (resource, request.code().into()) {
            (Resource::Led, code::GET) => Ok(Response::Led(self.0.led())),
            (Resource::Led, code::PUT | code::POST) => {
                let other = request.options().any(|option| {
                    option.number() == option::CONTENT_FORMAT && option.value_uint() != Some(TEXT)
                });
                if other {
                    return Err(Error::unsupported_content_format());
                }
                Ok(self.switch(request.payload()))
            }
            (Resource::Temperature, code::GET) => {
                Ok(Response::Temperature(self.0.temperature_millicelsius()))
            }
            _ => Err(Error::method_not_allowed()),
        }
    }

    fn estimate_length(&mut self, _: &Response) -> usize {
        // Options and the longest payload.
        32
    }

    fn build_response<M: MutableWritableMessage>(
        &mut self,
        response: &mut M,
        data: Response,
    ) -> Result<(), M::UnionError> {
        let code = match data {
            Response::Led(_) | Response::Temperature(_) => code::CONTENT,
            Response::Changed => code::CHANGED,
            Response::BadRequest(_) => code::BAD_REQUEST,
        };
        response.set_code(M::Code::new(code)?);
        if code == code::CONTENT {
            response.add_option_uint(M::OptionNumber::new(option::CONTENT_FORMAT)?, TEXT)?;
        }
        let mut text = Text::default();
        let payload = match data {
            Response::Led(on) => {
                if on {
                    "1"
                } else {
                    "0"
                }
            }
            Response::Temperature(millicelsius) => {
                // The buffer is long enough for any temperature.
                let _ = write_celsius(&mut text, millicelsius);
                text.as_str()
            }
            Response::Changed => "",
            Response::BadRequest(diagnostic) => diagnostic,
        };
        response.set_payload(payload.as_bytes())?;
        Ok(())
    }
}

impl<B: Board> Reporting for Resources<B> {
    type Record<'a>
        = ConstantSliceRecord<'a>
    where
        Self: 'a;
    type Reporter<'a>
        = core::array::IntoIter<ConstantSliceRecord<'a>, 2>
    where
        Self: 'a;

    fn report(&self) -> Self::Reporter<'_> {
        [
            ConstantSliceRecord::new_with_path(
                &["led"],
                &[Attribute::ResourceType("led"), Attribute::Ct(TEXT)],
            ),
            ConstantSliceRecord::new_with_path(
                &["temperature"],
                &[Attribute::ResourceType("temperature"), Attribute::Ct(TEXT)],
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
#[derive(Default)]
struct Text {
    bytes: [u8; 12],
    len: usize,
}

impl Text {
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
            let mut text = Text::default();
            write_celsius(&mut text, millicelsius).unwrap();
            assert_eq!(text.as_str(), expected);
        }
    }
}
