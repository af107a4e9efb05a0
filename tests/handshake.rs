use dtls_psk::*;
use getrandom::SysRng;
#[test]
fn smoke() {
    let config = Config::default();
    let psk = Psk::new(b"c", b"hardfault_secure_key").unwrap();
    let keys = [psk];
    let mut storage = Storage::<2, 4>::new();
    let mut server = Endpoint::new(&config, &keys, &mut storage, &mut SysRng).unwrap();
    let now = Instant::ZERO;
    let mut client = Connection::client(&config, &psk, &mut SysRng, now).unwrap();
    let path = Path { local: "127.0.0.1:5684".parse().unwrap(), remote: "127.0.0.1:4000".parse().unwrap() };
    let mut buf = [0; 1500];
    for _ in 0..6 {
        while let Some(len) = client.poll_transmit(&mut buf).unwrap() {
            println!("c->s {len}");
            for e in server.receive(&mut buf[..len], path, &mut SysRng, now) {
                println!("server {e:?}");
            }
        }
        while let Some((len, _)) = server.poll_transmit(&mut buf).unwrap() {
            println!("s->c {len}");
            for e in client.receive(&mut buf[..len], now) {
                println!("client {e:?}");
            }
        }
    }
    println!("{:?} {:?}", client.peer(), server.peer(&path));
    let n = client.send(b"hello", &mut buf).unwrap();
    for e in server.receive(&mut buf[..n], path, &mut SysRng, now) {
        println!("server {e:?}");
    }
    println!("{:?}", server.stats());
    println!(
        "sizes {} {} {}",
        size_of::<Storage<1, 1>>(),
        size_of::<Storage<2, 1>>(),
        size_of::<Storage<1, 2>>()
    );
    assert!(client.peer().is_some());
}
