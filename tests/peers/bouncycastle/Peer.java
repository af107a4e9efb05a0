// The program that ../driver.c is for the libraries in C, over Bouncy Castle: the same command line, input and output.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Hashtable;
import java.util.Locale;
import java.util.Map;
import java.util.Vector;

import org.bouncycastle.tls.AlertDescription;
import org.bouncycastle.tls.CipherSuite;
import org.bouncycastle.tls.BasicTlsPSKIdentity;
import org.bouncycastle.tls.DTLSClientProtocol;
import org.bouncycastle.tls.DTLSRequest;
import org.bouncycastle.tls.DTLSServerProtocol;
import org.bouncycastle.tls.DTLSTransport;
import org.bouncycastle.tls.DTLSVerifier;
import org.bouncycastle.tls.DatagramTransport;
import org.bouncycastle.tls.NamedGroup;
import org.bouncycastle.tls.NameType;
import org.bouncycastle.tls.PSKTlsClient;
import org.bouncycastle.tls.PSKTlsServer;
import org.bouncycastle.tls.ProtocolVersion;
import org.bouncycastle.tls.ServerName;
import org.bouncycastle.tls.TlsExtensionsUtils;
import org.bouncycastle.tls.TlsPSKIdentityManager;
import org.bouncycastle.tls.TlsSession;
import org.bouncycastle.tls.crypto.TlsCrypto;
import org.bouncycastle.tls.crypto.impl.bc.BcTlsCrypto;

final class Peer {
    private static final ProtocolVersion[] VERSIONS = {ProtocolVersion.DTLSv12};
    private static final TlsCrypto CRYPTO = new BcTlsCrypto(new SecureRandom());

    private static int suite;
    private static String identity = "client1";
    private static byte[] key = {};
    private static int mtu = 1400;
    private static int maxFragment;
    private static String serverName;
    private static boolean noEms;

    /** A datagram socket that answers to where the last datagram came from: the tests' clients move on purpose. */
    private static final class Socket implements DatagramTransport {
        private DatagramSocket socket = open();
        private InetSocketAddress other;

        private static DatagramSocket open() {
            try {
                return new DatagramSocket(0, InetAddress.getLoopbackAddress());
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
        }

        int port() {
            return socket.getLocalPort();
        }

        void rebind() {
            DatagramSocket before = socket;
            socket = open();
            before.close();
        }

        @Override
        public int getReceiveLimit() {
            return 16384;
        }

        @Override
        public int getSendLimit() {
            return mtu;
        }

        @Override
        public int receive(byte[] buffer, int at, int len, int waitMillis) throws IOException {
            DatagramPacket packet = new DatagramPacket(buffer, at, len);
            socket.setSoTimeout(Math.max(1, waitMillis));
            try {
                socket.receive(packet);
            } catch (SocketTimeoutException nothing) {
                return -1;
            }
            other = (InetSocketAddress) packet.getSocketAddress();
            return packet.getLength();
        }

        @Override
        public void send(byte[] bytes, int at, int len) throws IOException {
            socket.send(new DatagramPacket(bytes, at, len, other));
        }

        /** The library closes it after a session. The socket stays for the next. */
        @Override
        public void close() {
        }
    }

    private static final Socket SOCKET = new Socket();
    private static boolean closed;
    private static boolean resumed;

    private static void say(String line) {
        System.out.println(line);
    }

    private static final class Client extends PSKTlsClient {
        private final TlsSession offered;
        TlsSession session;

        Client(TlsSession offered) {
            super(CRYPTO, new BasicTlsPSKIdentity(identity.getBytes(StandardCharsets.UTF_8), key));
            this.offered = offered;
        }

        @Override
        protected ProtocolVersion[] getSupportedVersions() {
            return VERSIONS;
        }

        @Override
        protected int[] getSupportedCipherSuites() {
            return new int[] {suite};
        }

        @Override
        protected Vector getSupportedGroups(Vector roles) {
            Vector groups = new Vector();
            groups.add(NamedGroup.x25519);
            return groups;
        }

        @Override
        protected Vector getSNIServerNames() {
            if (serverName == null) {
                return null;
            }
            Vector names = new Vector();
            names.add(new ServerName(NameType.host_name, serverName.getBytes(StandardCharsets.US_ASCII)));
            return names;
        }

        @Override
        public boolean shouldUseExtendedMasterSecret() {
            return !noEms;
        }

        @Override
        public Hashtable getClientExtensions() throws IOException {
            Hashtable extensions = super.getClientExtensions();
            // Of certificates, which there are none of here, and as long as the rest of the hello.
            extensions.remove(TlsExtensionsUtils.EXT_signature_algorithms);
            if (maxFragment != 0) {
                short code = (short) (Integer.numberOfTrailingZeros(maxFragment) - 8);
                TlsExtensionsUtils.addMaxFragmentLengthExtension(extensions, code);
            }
            return extensions;
        }

        @Override
        public TlsSession getSessionToResume() {
            return offered;
        }

        @Override
        public int getHandshakeTimeoutMillis() {
            return 30_000;
        }

        @Override
        public void notifyAlertReceived(short level, short description) {
            closed |= description == AlertDescription.close_notify;
        }

        @Override
        public void notifyHandshakeComplete() throws IOException {
            super.notifyHandshakeComplete();
            session = context.getSession();
            resumed = offered != null && Arrays.equals(session.getSessionID(), offered.getSessionID());
        }
    }

    private static final Map<String, TlsSession> SESSIONS = new HashMap<>();
    private static String saidName = "";

    private static final class Server extends PSKTlsServer {
        Server() {
            super(CRYPTO, new TlsPSKIdentityManager() {
                @Override
                public byte[] getHint() {
                    return null;
                }

                @Override
                public byte[] getPSK(byte[] claimed) {
                    return Arrays.equals(claimed, identity.getBytes(StandardCharsets.UTF_8)) ? key.clone() : null;
                }
            });
        }

        @Override
        protected ProtocolVersion[] getSupportedVersions() {
            return VERSIONS;
        }

        @Override
        protected int[] getSupportedCipherSuites() {
            return new int[] {suite};
        }

        @Override
        public int[] getSupportedGroups() {
            return new int[] {NamedGroup.x25519};
        }

        @Override
        public boolean shouldUseExtendedMasterSecret() {
            return !noEms;
        }

        @Override
        public void processClientExtensions(Hashtable extensions) throws IOException {
            super.processClientExtensions(extensions);
            Vector names = TlsExtensionsUtils.getServerNameExtensionClient(extensions);
            if (names != null) {
                saidName = new String(((ServerName) names.get(0)).getNameData(), StandardCharsets.US_ASCII);
            }
        }

        @Override
        public byte[] getNewSessionID() {
            byte[] id = new byte[32];
            CRYPTO.getSecureRandom().nextBytes(id);
            return id;
        }

        @Override
        public TlsSession getSessionToResume(byte[] id) {
            return SESSIONS.get(HexFormat.of().formatHex(id));
        }

        @Override
        public int getHandshakeTimeoutMillis() {
            return 30_000;
        }

        @Override
        public void notifyAlertReceived(short level, short description) {
            closed |= description == AlertDescription.close_notify;
        }

        @Override
        public void notifyHandshakeComplete() throws IOException {
            super.notifyHandshakeComplete();
            TlsSession session = context.getSession();
            if (session != null && session.getSessionID().length > 0) {
                resumed = SESSIONS.put(HexFormat.of().formatHex(session.getSessionID()), session) != null;
            }
        }
    }

    private static void established() {
        say("established suite=%04x resumed=%s name=%s".formatted(suite, resumed ? "yes" : "no", saidName));
    }

    /** Takes what comes within a moment. */
    private static void take(DTLSTransport session, boolean echo) throws IOException {
        byte[] buffer = new byte[session.getReceiveLimit()];
        int len = session.receive(buffer, 0, buffer.length, 20);
        if (len >= 0) {
            String data = new String(buffer, 0, len, StandardCharsets.ISO_8859_1);
            say("data " + data);
            if (echo) {
                byte[] answer = data.toUpperCase(Locale.ROOT).getBytes(StandardCharsets.ISO_8859_1);
                session.send(answer, 0, answer.length);
            }
        }
    }

    private static void serve() {
        say("ready " + SOCKET.port());
        for (;;) {
            try {
                closed = resumed = false;
                saidName = "";
                DTLSVerifier verifier = new DTLSVerifier(CRYPTO);
                DTLSRequest request = null;
                byte[] buffer = new byte[SOCKET.getReceiveLimit()];
                while (request == null) {
                    int len = SOCKET.receive(buffer, 0, buffer.length, 1000);
                    if (len > 0) {
                        byte[] from = SOCKET.other.toString().getBytes(StandardCharsets.UTF_8);
                        request = verifier.verifyRequest(from, buffer, 0, len, SOCKET);
                    }
                }
                DTLSTransport session = new DTLSServerProtocol().accept(new Server(), SOCKET, request);
                established();
                while (!closed) {
                    take(session, true);
                }
                say("closed");
                session.close();
            } catch (IOException error) {
                say("error " + error);
            }
        }
    }

    private static void ask(int server) throws IOException {
        SOCKET.other = new InetSocketAddress(InetAddress.getLoopbackAddress(), server);
        Client client = new Client(null);
        DTLSTransport session = new DTLSClientProtocol().connect(client, SOCKET);
        established();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.ISO_8859_1));
        while (!closed) {
            take(session, false);
            if (!input.ready()) {
                continue;
            }
            String line = input.readLine();
            if (line == null || line.equals("!close")) {
                session.close();
                return;
            } else if (line.equals("!rebind")) {
                SOCKET.rebind();
                say("rebound " + SOCKET.port());
            } else if (line.equals("!again")) {
                session.close();
                SOCKET.rebind();
                client = new Client(client.session);
                session = new DTLSClientProtocol().connect(client, SOCKET);
                established();
            } else {
                byte[] bytes = line.getBytes(StandardCharsets.ISO_8859_1);
                session.send(bytes, 0, bytes.length);
            }
        }
        say("closed");
    }

    private static int suiteNumber(String name) {
        return switch (name) {
            case "CCM_8" -> CipherSuite.TLS_PSK_WITH_AES_128_CCM_8;
            case "CCM" -> CipherSuite.TLS_PSK_WITH_AES_128_CCM;
            case "GCM" -> CipherSuite.TLS_PSK_WITH_AES_128_GCM_SHA256;
            case "ECDHE_CCM_8" -> CipherSuite.TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256;
            case "ECDHE_CCM" -> CipherSuite.TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256;
            case "ECDHE_GCM" -> CipherSuite.TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256;
            default -> throw new IllegalArgumentException("no suite " + name);
        };
    }

    public static void main(String[] arguments) throws IOException {
        boolean isServer = arguments[0].equals("server");
        for (int at = isServer ? 1 : 2; at + 1 < arguments.length; at += 2) {
            String value = arguments[at + 1];
            switch (arguments[at]) {
                case "--suite" -> suite = suiteNumber(value);
                case "--identity" -> identity = value;
                case "--key" -> key = HexFormat.of().parseHex(value);
                case "--mtu" -> mtu = Integer.parseInt(value);
                case "--max-fragment" -> maxFragment = Integer.parseInt(value);
                case "--server-name" -> serverName = value;
                case "--no-ems" -> noEms = value.equals("1");
                default -> throw new IllegalArgumentException("no option " + arguments[at]);
            }
        }
        if (isServer) {
            serve();
        } else {
            try {
                ask(Integer.parseInt(arguments[1]));
            } catch (IOException error) {
                say("error " + error);
                System.exit(1);
            }
        }
    }
}
