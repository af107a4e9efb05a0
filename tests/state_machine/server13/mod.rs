//! A server of DTLS 1.3 under test: what a client may send it, what it should do about that, and whether it does.

mod model;
mod subject;

pub use subject::Server;

alphabet! {
    /// What a client, or someone who sends from its address, may send.
    pub enum Symbol {
        /// The client's hello without a cookie.
        Hello,
        HelloWithCookie,
        HelloWithWrongCookie,
        /// A hello with a good cookie and a binder that is not right.
        HelloWithWrongBinder,
        /// A hello with a good cookie that offers no key.
        HelloWithoutKey,
        /// A hello with a good cookie, and no suite that the server has.
        HelloWithOtherSuites,
        /// The client has lost its state: a hello with another random and a good cookie.
        HelloAfterReboot,
        /// A hello under the keys of the handshake.
        SealedHello,
        /// A message that no client sends, under the keys of the handshake.
        EncryptedExtensions,
        Finished,
        /// A Finished under the right keys, with the wrong proof.
        WrongFinished,
        /// The right Finished under the wrong keys.
        ForgedFinished,
        PlainFinished,
        /// An ACK of the server's flight, and one of nothing.
        AckOfFlight,
        AckOfNothing,
        /// An ACK of the flight that anybody can send, and one under the keys of the session.
        PlainAck,
        SessionAck,
        /// One that does not ask for the server's; after two of them, the last one once more.
        KeyUpdate,
        /// A KeyUpdate that asks for what there is not.
        WrongKeyUpdate,
        /// A KeyUpdate under the keys of the handshake.
        EarlyKeyUpdate,
        NewSessionTicket,
        /// Where no connection IDs are in use.
        RequestConnectionId,
        Data,
        /// Data under the keys of the handshake.
        EarlyData,
        /// The data that was delivered last, in the same record.
        ReplayedData,
        ForgedData,
        PlainData,
        UserCanceled,
        FatalAlert,
        /// In DTLS 1.3, the level says nothing (RFC 8446 §6).
        MildFatalAlert,
        /// A fatal alert under the keys of the handshake.
        EarlyFatalAlert,
        ForgedFatalAlert,
        PlainFatalAlert,
        CloseNotify,
        PlainCloseNotify,
        /// Nothing: time passes until a timer fires.
        Timeout,
    }
}

use Symbol::*;

/// Where sequences begin: in each state of a server, the last with a session and a handshake at once.
pub const BEGINNINGS: [&[Symbol]; 5] = [
    &[HelloWithCookie],
    &[HelloWithCookie, AckOfFlight],
    &[HelloWithCookie, Finished],
    &[HelloWithCookie, Finished, KeyUpdate],
    &[HelloWithCookie, Finished, HelloAfterReboot],
];

/// What is tried in the longest sequences.
pub const MOST: [Symbol; 14] = [
    Hello,
    HelloWithCookie,
    HelloWithWrongBinder,
    HelloAfterReboot,
    EncryptedExtensions,
    Finished,
    WrongFinished,
    AckOfFlight,
    AckOfNothing,
    KeyUpdate,
    Data,
    FatalAlert,
    CloseNotify,
    PlainFatalAlert,
];
