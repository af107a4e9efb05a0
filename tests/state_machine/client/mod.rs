//! The client under test: what a server may send it, what it should do about that, and whether it does.

mod model;
mod subject;

pub use subject::Client;

alphabet! {
    /// What a server, or someone who sends from its address, may send. Messages come with the number that is due, if nothing
    /// else is said.
    pub enum Symbol {
        HelloVerifyRequest,
        ServerHello,
        /// A ServerHello with a suite that was not offered.
        ServerHelloWithOtherSuite,
        /// A ServerHello that resumes the session that the client may have offered.
        ServerHelloThatResumes,
        /// A ServerHello under the keys.
        SealedServerHello,
        /// A ServerKeyExchange with a hint.
        ServerKeyExchange,
        ServerHelloDone,
        /// The one that the client has, once more; where there is none, one whose turn it is not.
        ServerHelloDoneAgain,
        ChangeCipherSpec,
        SealedChangeCipherSpec,
        Finished,
        /// A Finished under the right keys, with the wrong proof.
        WrongFinished,
        /// The right Finished under the wrong keys.
        ForgedFinished,
        PlainFinished,
        /// A message that no server sends.
        ClientKeyExchange,
        HelloRequest,
        SealedHelloRequest,
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

/// Where sequences begin: in each state of a client.
pub const BEGINNINGS: [&[Symbol]; 5] = [
    &[ServerHello],
    &[ServerHello, ServerKeyExchange],
    &[ServerHello, ServerKeyExchange, ServerHelloDone],
    &[ServerHello, ServerKeyExchange, ServerHelloDone, ChangeCipherSpec],
    &[ServerHello, ServerKeyExchange, ServerHelloDone, ChangeCipherSpec, Finished],
];

/// What is tried in the longest sequences.
pub const MOST: [Symbol; 16] = [
    HelloVerifyRequest,
    ServerHello,
    ServerHelloWithOtherSuite,
    ServerKeyExchange,
    ServerHelloDone,
    ServerHelloDoneAgain,
    ChangeCipherSpec,
    Finished,
    WrongFinished,
    ForgedFinished,
    PlainFinished,
    SealedHelloRequest,
    Data,
    FatalAlert,
    CloseNotify,
    PlainFatalAlert,
];

/// An abbreviated handshake.
#[cfg(feature = "resumption")]
pub const RESUMING: [Symbol; 3] = [ServerHelloThatResumes, ChangeCipherSpec, Finished];
