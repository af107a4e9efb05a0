/* wolfSSL with what a PSK peer of the tests may be asked for: DTLS 1.2, and 1.3 where WOLFSSL_DTLS13 is defined. */
#define SINGLE_THREADED
#define WC_NO_HARDEN
#define WOLFSSL_IGNORE_FILE_WARN
#define NO_RSA
#define NO_DSA
#define NO_DH
#define NO_MD4
#define NO_MD5
#define NO_DES3
#define NO_RC4
#define NO_OLD_TLS
#define WOLFSSL_USER_IO
#define USE_WOLFSSL_IO
#define WOLFSSL_DTLS
#define WOLFSSL_DTLS_CID
#define DTLS_CID_MAX_SIZE 255
#define WOLFSSL_DTLS_MTU
#define WOLFSSL_STATIC_PSK
#define HAVE_TLS_EXTENSIONS
#define HAVE_EXTENDED_MASTER
#define HAVE_MAX_FRAGMENT
#define HAVE_SNI
#define HAVE_SERVER_RENEGOTIATION_INFO
#define HAVE_SUPPORTED_CURVES
#define HAVE_CURVE25519
#define HAVE_ECC
#define WOLFSSL_SP_MATH_ALL
#define HAVE_AESGCM
#define HAVE_AESCCM
#define WOLFSSL_AES_COUNTER
#define WOLFSSL_AES_DIRECT
#define HAVE_HASHDRBG
#define HAVE_SESSION_TICKET
#define MAX_PSK_KEY_LEN 64

#ifdef WOLFSSL_DTLS13
/* Of its own tickets, too. */
#define MAX_PSK_ID_LEN 512
#define WOLFSSL_TLS13
#define HAVE_HKDF
#define WOLFSSL_SEND_HRR_COOKIE
#define WOLFSSL_DTLS_CH_FRAG
#define HAVE_SECRET_CALLBACK
#define HAVE_KEYING_MATERIAL
#else
#define MAX_PSK_ID_LEN 128
#endif
