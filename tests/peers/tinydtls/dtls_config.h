/* tinydtls with pre-shared keys alone. */
#define DTLS_PSK 1
#define DTLS_PEERS_NOHASH 1
#define HAVE_ASSERT_H 1
#define HAVE_INTTYPES_H 1
#define HAVE_STDINT_H 1
#define HAVE_STRING_H 1
#define HAVE_TIME_H 1
#define HAVE_SYS_TIME_H 1
#define HAVE_ARPA_INET_H 1
#define HAVE_SYS_SOCKET_H 1
#define HAVE_NETINET_IN_H 1
#define HAVE_SYS_RANDOM_H 1
#define HAVE_GETRANDOM 1
#define PACKAGE_NAME "tinydtls"
#define PACKAGE_VERSION "0.8.6"
#define PACKAGE_STRING "tinydtls 0.8.6"
#define HAVE_VPRINTF 1
