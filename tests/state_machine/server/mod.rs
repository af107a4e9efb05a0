//! The server under test: what a client may send it, what it should do about that, and whether it does.

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
        /// A hello with a good cookie, and no suite that the server has.
        HelloWithOtherSuites,
        /// The client has lost its state: a hello with another random and a good cookie.
        HelloAfterReboot,
        /// The same, and the hello names a session that the server may have kept.
        HelloToResume,
        /// A hello under the keys of the session.
        SealedHello,
        /// A ClientKeyExchange with the number that is due.
        ClientKeyExchange,
        /// The same with an identity that nobody has.
        ClientKeyExchangeOfUnknown,
        /// The one that the server has, once more; where there is none, one whose turn it is not.
        ClientKeyExchangeAgain,
        /// A ClientKeyExchange under the new keys.
        SealedClientKeyExchange,
        ChangeCipherSpec,
        SealedChangeCipherSpec,
        Finished,
        /// A Finished under the right keys, with the wrong proof.
        WrongFinished,
        /// The right Finished under the wrong keys.
        ForgedFinished,
        PlainFinished,
        /// A message that no client sends, with the number that is due.
        ServerHelloDone,
        HelloRequest,
        Data,
        /// The data that was delivered last, in the same record.
        ReplayedData,
        ForgedData,
        PlainData,
        Warning,
        FatalAlert,
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
    &[HelloWithCookie, ClientKeyExchange],
    &[HelloWithCookie, ClientKeyExchange, ChangeCipherSpec],
    &[HelloWithCookie, ClientKeyExchange, ChangeCipherSpec, Finished],
    &[
        HelloWithCookie,
        ClientKeyExchange,
        ChangeCipherSpec,
        Finished,
        HelloAfterReboot,
        ClientKeyExchange,
        ChangeCipherSpec,
    ],
];

/// What is tried in the longest sequences.
pub const MOST: [Symbol; 16] = [
    Hello,
    HelloWithCookie,
    HelloAfterReboot,
    ClientKeyExchange,
    ClientKeyExchangeOfUnknown,
    ClientKeyExchangeAgain,
    ChangeCipherSpec,
    Finished,
    WrongFinished,
    ForgedFinished,
    PlainFinished,
    ServerHelloDone,
    Data,
    FatalAlert,
    CloseNotify,
    PlainFatalAlert,
];

/// An abbreviated handshake.
#[cfg(feature = "resumption")]
pub const RESUMING: [Symbol; 3] = [HelloToResume, ChangeCipherSpec, Finished];
