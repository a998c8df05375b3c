use std::net::SocketAddr;
use std::sync::mpsc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::server::testing::{Silent, address_of, any_port};

const DEADLINE: Duration = Duration::from_secs(20);

/// An address at which `workers` accept, by so many sockets.
async fn listen(workers: &Workers, sockets: usize) -> SocketAddr {
    let listeners = Listener::bind_for(&any_port(), 0, sockets).await.unwrap();
    let address = address_of(&listeners[0]);
    let admission = Admission {
        max_connections: usize::MAX,
        connection_settings: ConnectionSettings::off(),
    };
    workers.listen(
        listeners,
        &ListenerSettings::default(),
        &watch::Sender::new(admission),
    );
    address
}

async fn is_answered(client: &mut TcpStream) -> bool {
    let request = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let read = timeout(DEADLINE, client.read_buf(&mut answer)).await;
        assert!(read.unwrap().unwrap() > 0);
    }
    answer.starts_with(b"HTTP/1.1 200 ")
}

#[tokio::test]
async fn connections_are_spread_evenly_whichever_worker_accepts_them() {
    for sockets in [1, 2] {
        let workers = Workers::start(2, &Arc::new(Metrics::new()), || Rc::new(Silent)).unwrap();
        let address = listen(&workers, sockets).await;
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = TcpStream::connect(address).await.unwrap();
            assert!(is_answered(&mut client).await);
            clients.push(client);
        }
        let loads = workers.ask(DEADLINE, ShutdownWatch::connections).await;
        assert_eq!(loads, [Some(4), Some(4)], "{sockets} sockets");

        workers.close().await;
        assert!(TcpStream::connect(address).await.is_err(), "closed");
        assert!(is_answered(&mut clients[0]).await, "and still served");
        let until = Instant::now() + DEADLINE;
        workers.enter(Stage::Draining { until });
        timeout(DEADLINE, workers.done()).await.unwrap();
        assert_eq!(workers.connections(), 0);
    }
}

#[tokio::test]
async fn a_connection_for_a_worker_that_has_ended_is_served_by_the_one_that_accepted_it() {
    let workers = Workers::start(2, &Arc::new(Metrics::new()), || Rc::new(Silent)).unwrap();
    let address = listen(&workers, 1).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    assert!(is_answered(&mut first).await);
    let until = Instant::now() + DEADLINE;
    let _ = workers.orders[1].send(Order::Enter(Stage::Draining { until }));
    timeout(DEADLINE, workers.orders[1].closed()).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    assert!(is_answered(&mut second).await);
}

#[tokio::test]
async fn a_worker_that_panics_is_missed_and_one_that_ends_is_not() {
    for panics in [true, false] {
        let workers = Workers::start(2, &Arc::new(Metrics::new()), || Rc::new(Silent)).unwrap();
        listen(&workers, 2).await;
        let fall = move |_: &ShutdownWatch| {
            let is_first = std::thread::current().name() == Some("worker-0");
            assert!(!(panics && is_first), "a panic that a test has asked for");
        };
        let answers = workers.ask(DEADLINE, fall).await;
        assert_eq!(answers[0].is_none(), panics);
        if panics {
            timeout(DEADLINE, workers.orders[0].closed()).await.unwrap();
        }
        assert_eq!(workers.have_failed(), panics);
        let answers = workers.ask(DEADLINE, |_: &ShutdownWatch| ()).await;
        let first = (!panics).then_some(());
        assert_eq!(answers, [first, Some(())], "the other one goes on");
        workers.close().await;
        let until = Instant::now() + DEADLINE;
        workers.enter(Stage::Draining { until });
        timeout(DEADLINE, workers.done()).await.unwrap();
        assert_eq!(workers.have_failed(), panics);
    }
}

#[tokio::test]
async fn a_stuck_worker_delays_the_answer_of_no_other() {
    let metrics = Arc::new(Metrics::new());
    let workers = Workers::start(2, &metrics, || Rc::new(Silent)).unwrap();
    let name = |_: &ShutdownWatch| std::thread::current().name().map(str::to_owned);
    let long = Duration::from_secs(60);
    let answers = workers.ask(long, name).await;
    let names: Vec<_> = answers.into_iter().flatten().flatten().collect();
    assert_eq!(names, ["worker-0", "worker-1"]);

    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let stick = move |_: &ShutdownWatch| {
        if name(&ShutdownWatch::new()).as_deref() == Some("worker-0") {
            let _ = held.lock().map(|held| held.recv());
        }
    };
    let short = Duration::from_millis(50);
    assert_eq!(workers.ask(short, stick).await, [None, Some(())]);
    let answers = workers.ask(short, name).await;
    assert!(answers[0].is_none() && answers[1].is_some());
    drop(release);
    assert!(
        workers.ask(long, name).await[0].is_some(),
        "it answers again"
    );
}
