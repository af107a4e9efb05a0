//! A client of DTLS 1.3 under test: what a server may send it, what it should do about that, and whether it does.

mod model;
mod subject;

pub use subject::Client;

alphabet! {
    /// What a server, or someone who sends from its address, may send. Messages come with the number that is due, if nothing
    /// else is said.
    pub enum Symbol {
        /// One with a cookie.
        HelloRetryRequest,
        /// One that asks for nothing.
        EmptyHelloRetryRequest,
        HelloVerifyRequest,
        ServerHello,
        ServerHelloWithOtherSuite,
        /// The server has chosen a key that was not offered.
        ServerHelloWithOtherKey,
        /// Some servers repeat a session id, which none of DTLS 1.3 does.
        ServerHelloWithSessionId,
        /// A ServerHello of DTLS 1.2.
        OldServerHello,
        /// The server's next flight is here, but for the ServerHello.
        EncryptedExtensions,
        /// One with an extension that was not offered.
        WrongEncryptedExtensions,
        PlainEncryptedExtensions,
        /// The message behind the EncryptedExtensions, early or not.
        Finished,
        /// A Finished under the right keys, with the wrong proof.
        WrongFinished,
        /// The right Finished under the wrong keys.
        ForgedFinished,
        PlainFinished,
        /// An ACK of the client's Finished, and one of nothing.
        Ack,
        AckOfNothing,
        /// An ACK of nothing under the keys of the handshake, and one that anybody can send.
        EarlyAck,
        PlainAck,
        /// One that does not ask for the client's; after two of them, the last one once more.
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
        /// Nothing: time passes until every timer has fired.
        Timeout,
    }
}

use Symbol::*;

/// Where sequences begin: in each state of a client.
pub const BEGINNINGS: [&[Symbol]; 6] = [
    &[HelloRetryRequest],
    &[ServerHello],
    &[ServerHello, EncryptedExtensions],
    &[ServerHello, EncryptedExtensions, Finished],
    &[ServerHello, EncryptedExtensions, Finished, Ack],
    &[HelloRetryRequest, ServerHello, EncryptedExtensions, Finished, Ack, KeyUpdate],
];

/// What is tried in the longest sequences.
pub const MOST: [Symbol; 14] = [
    HelloRetryRequest,
    ServerHello,
    ServerHelloWithOtherSuite,
    EncryptedExtensions,
    WrongEncryptedExtensions,
    Finished,
    WrongFinished,
    PlainFinished,
    Ack,
    KeyUpdate,
    Data,
    FatalAlert,
    CloseNotify,
    PlainFatalAlert,
];
