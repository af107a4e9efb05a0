//! The peers whose C sources come in crates: programs of the tests, built once with gcc. See `tests/peers`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use crate::{
    aiocoap, bouncycastle,
    step::{Result, Steps},
    wireshark,
};

/// Where their parts lie.
const FOLDER: &str = "tests/peers";

/// One program: the crate that brings its library's sources, where in there they are, and what else it is made of.
struct Library {
    name: &'static str,
    /// Below `tests/peers`: our side of it, and its settings.
    folder: &'static str,
    package: &'static str,
    root: &'static str,
    /// Below the root; a folder stands for every C file in it.
    sources: &'static [&'static str],
    includes: &'static [&'static str],
    arguments: &'static [&'static str],
}

const WOLFSSL: Library = Library {
    name: "wolfssl",
    folder: "wolfssl",
    package: "wolfssl-sys",
    root: "wolfssl-src",
    sources: &[
        "src/ssl.c",
        "src/internal.c",
        "src/tls.c",
        "src/tls13.c",
        "src/dtls.c",
        "src/dtls13.c",
        "src/keys.c",
        "src/wolfio.c",
        "wolfcrypt/src/aes.c",
        "wolfcrypt/src/hash.c",
        "wolfcrypt/src/hmac.c",
        "wolfcrypt/src/kdf.c",
        "wolfcrypt/src/memory.c",
        "wolfcrypt/src/random.c",
        "wolfcrypt/src/sha.c",
        "wolfcrypt/src/sha256.c",
        "wolfcrypt/src/sha512.c",
        "wolfcrypt/src/wc_port.c",
        "wolfcrypt/src/wc_encrypt.c",
        "wolfcrypt/src/error.c",
        "wolfcrypt/src/logging.c",
        "wolfcrypt/src/cpuid.c",
        "wolfcrypt/src/coding.c",
        "wolfcrypt/src/curve25519.c",
        "wolfcrypt/src/fe_operations.c",
        "wolfcrypt/src/ge_operations.c",
        "wolfcrypt/src/ecc.c",
        "wolfcrypt/src/sp_int.c",
        "wolfcrypt/src/wolfmath.c",
        "wolfcrypt/src/asn.c",
        "wolfcrypt/src/pwdbased.c",
        "wolfcrypt/src/signature.c",
    ],
    includes: &["."],
    arguments: &["-DWOLFSSL_USER_SETTINGS"],
};

const LIBRARIES: &[Library] = &[
    Library {
        name: "mbedtls",
        folder: "mbedtls",
        package: "mbedtls-rs-sys",
        root: "mbedtls",
        sources: &["library"],
        includes: &["include", "library"],
        arguments: &["-DMBEDTLS_CONFIG_FILE=\"mbedtls_config.h\""],
    },
    Library {
        name: "tinydtls",
        folder: "tinydtls",
        package: "tinydtls-sys",
        root: "src/tinydtls",
        sources: &[
            "dtls.c",
            "crypto.c",
            "ccm.c",
            "hmac.c",
            "netq.c",
            "peer.c",
            "session.c",
            "dtls_time.c",
            "dtls_prng.c",
            "dtls_debug.c",
            "aes/rijndael.c",
            "aes/rijndael_wrap.c",
            "sha2/sha2.c",
        ],
        includes: &["."],
        arguments: &[
            "-std=gnu99",
            "-D_GNU_SOURCE",
            "-DDTLSv12",
            "-DWITH_SHA256",
            "-DSHA2_USE_INTTYPES_H",
            "-DDTLS_CHECK_CONTENTTYPE",
        ],
    },
    WOLFSSL,
    Library { name: "wolfssl13", arguments: &["-DWOLFSSL_USER_SETTINGS", "-DWOLFSSL_DTLS13"], ..WOLFSSL },
    // What the releases up to 5.9.0 are: servers that answer with the client's legacy_session_id.
    Library {
        name: "wolfssl13-echo",
        arguments: &[
            "-DWOLFSSL_USER_SETTINGS",
            "-DWOLFSSL_DTLS13",
            "-DWOLFSSL_DTLS13_ECHO_LEGACY_SESSION_ID",
        ],
        ..WOLFSSL
    },
];

/// Builds and installs each peer that is not there yet, or whose parts have changed since.
pub fn build(steps: &mut Steps) -> Result {
    let own = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    let folder = own.target_directory.into_std_path_buf().join("peers");
    std::fs::create_dir_all(&folder)?;
    aiocoap::install(steps, &folder)?;
    bouncycastle::build(steps, &folder)?;
    wireshark::install(steps, &folder)?;
    let stale = |library: &&Library| !is_fresh(&program(&folder, library), library).unwrap_or(false);
    let libraries: Vec<_> = LIBRARIES.iter().filter(stale).collect();
    if libraries.is_empty() {
        return Ok(());
    }
    let mut metadata = cargo_metadata::MetadataCommand::new();
    metadata.manifest_path(format!("{FOLDER}/sources/Cargo.toml")).other_options(["--locked".to_owned()]);
    let metadata = metadata.exec()?;
    for library in libraries {
        let package = metadata.packages.iter().find(|package| package.name == library.package);
        let package = package.ok_or("the crate with the sources is not there")?;
        let root = package.manifest_path.with_file_name(library.root).into_std_path_buf();
        steps.step(&format!("build the peer {}", library.name), || {
            compile(library, &root, &program(&folder, library))
        })?;
    }
    Ok(())
}

fn program(folder: &Path, library: &Library) -> PathBuf {
    folder.join(format!("peer-{}", library.name))
}

/// Whether the program is newer than everything of this project that it is made of.
fn is_fresh(program: &Path, library: &Library) -> std::io::Result<bool> {
    let built = std::fs::metadata(program)?.modified()?;
    let folders = [FOLDER.to_owned(), format!("{FOLDER}/{}", library.folder), format!("{FOLDER}/sources")];
    let mut newest = SystemTime::UNIX_EPOCH;
    for folder in folders {
        for file in std::fs::read_dir(folder)? {
            let metadata = file?.metadata()?;
            if metadata.is_file() {
                newest = newest.max(metadata.modified()?);
            }
        }
    }
    Ok(built > newest)
}

fn compile(library: &Library, root: &Path, program: &Path) -> Result {
    let mut gcc = Command::new("gcc");
    // Its warnings are for its own people.
    gcc.args(["-O1", "-w", "-o"]).arg(program).args(library.arguments);
    gcc.arg(format!("-I{FOLDER}/{}", library.folder)).arg(format!("-I{FOLDER}"));
    gcc.args(library.includes.iter().map(|include| format!("-I{}", root.join(include).display())));
    gcc.args([format!("{FOLDER}/driver.c"), format!("{FOLDER}/{}/peer.c", library.folder)]);
    for source in library.sources {
        let source = root.join(source);
        if source.is_dir() {
            let files = std::fs::read_dir(&source)?.collect::<std::io::Result<Vec<_>>>()?;
            let is_c = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "c");
            gcc.args(files.iter().map(|file| file.path()).filter(is_c));
        } else {
            gcc.arg(source);
        }
    }
    // Not shown: it names a hundred files.
    let output = gcc.arg("-lm").output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("gcc failed:\n{}", String::from_utf8_lossy(&output.stderr)).into())
}
