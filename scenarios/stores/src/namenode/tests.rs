//! The namespace and the recovery of leases, without sockets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flume_bench_hadoop::client_protocol::{
    AbandonBlockRequest, AddBlockRequest, CompleteRequest, CreateFlag, CreateRequest,
    DeleteRequest, FsyncRequest, GetListingRequest, MkdirsRequest, Rename2Request, RenameRequest,
    UpdateBlockForPipelineRequest, UpdatePipelineRequest,
};
use flume_bench_hadoop::common::{DatanodeId, ExtendedBlock, FsPermission, LocatedBlock};

use super::state::State;
use crate::ipc::Exception;
use crate::link::{self, Beat, Recovery, Replica, ReplicaState};
use crate::orders::Orders;

/// A NameNode that can be started again on the same log.
struct Bench {
    dir: tempfile::TempDir,
    state: State,
}

fn open(dir: &tempfile::TempDir) -> State {
    State::open(dir.path(), 1, 1 << 20, Arc::new(Orders::default())).unwrap()
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            state: open(&dir),
            dir,
        }
    }

    fn restart(&mut self) {
        self.state = open(&self.dir);
    }

    fn beat(
        &mut self,
        node: &str,
        full: bool,
        replicas: &[Replica],
        frozen: &[Recovery],
    ) -> link::Orders {
        let id = DatanodeId {
            ip_addr: "127.0.0.1".into(),
            host_name: node.into(),
            datanode_uuid: node.into(),
            ..DatanodeId::default()
        };
        self.state.beat(&Beat {
            node: id,
            full,
            replicas: replicas.to_vec(),
            frozen: frozen.to_vec(),
            pool: String::new(),
            used: 0,
        })
    }

    fn create(&mut self, path: &str, client: &str) -> Result<u64, Exception> {
        let request = CreateRequest {
            src: path.into(),
            masked: FsPermission { perm: 0o644 },
            client_name: client.into(),
            create_flag: CreateFlag::Create as u32,
            create_parent: true,
            replication: 2,
            block_size: 1 << 20,
            ..CreateRequest::default()
        };
        self.state
            .create(&request, "me", String::new())
            .map(|status| status.file_id())
    }

    fn add_block(
        &mut self,
        path: &str,
        client: &str,
        previous: Option<ExtendedBlock>,
    ) -> Result<LocatedBlock, Exception> {
        self.state.add_block(&AddBlockRequest {
            src: path.into(),
            client_name: client.into(),
            previous,
            ..AddBlockRequest::default()
        })
    }

    fn complete(
        &mut self,
        path: &str,
        client: &str,
        last: Option<ExtendedBlock>,
    ) -> Result<bool, Exception> {
        self.state.complete(&CompleteRequest {
            src: path.into(),
            client_name: client.into(),
            last,
            file_id: None,
        })
    }

    fn rename(&mut self, src: &str, dst: &str) -> bool {
        self.state
            .rename(
                &RenameRequest {
                    src: src.into(),
                    dst: dst.into(),
                },
                String::new(),
            )
            .unwrap()
    }

    fn rename2(
        &mut self,
        src: &str,
        dst: &str,
        overwrite_dest: bool,
        call: &str,
    ) -> Result<(), String> {
        let request = Rename2Request {
            src: src.into(),
            dst: dst.into(),
            overwrite_dest,
            move_to_trash: None,
        };
        self.state
            .rename2(&request, call.into())
            .map_err(|refused| refused.class.rsplit('.').next().unwrap().to_owned())
    }

    fn delete(&mut self, src: &str, recursive: bool) -> Result<bool, Exception> {
        self.state.delete(
            &DeleteRequest {
                src: src.into(),
                recursive,
            },
            String::new(),
        )
    }

    fn mkdirs(&mut self, src: &str) -> Result<bool, Exception> {
        let request = MkdirsRequest {
            src: src.into(),
            masked: FsPermission { perm: 0o755 },
            create_parent: true,
            unmasked: None,
        };
        self.state.mkdirs(&request, "me")
    }

    fn length(&self, path: &str) -> Option<u64> {
        self.state
            .file_info(path, false)
            .map(|status| status.length)
    }

    /// A file with one flushed block of 10 bytes, on the DataNodes `a` and `b`.
    fn open_file(&mut self, path: &str) -> LocatedBlock {
        self.beat("a", true, &[], &[]);
        self.beat("b", true, &[], &[]);
        self.create(path, "c1").unwrap();
        let located = self.add_block(path, "c1", None).unwrap();
        assert_eq!(located.locs.len(), 2);
        self.state
            .fsync(&FsyncRequest {
                src: path.into(),
                client: "c1".into(),
                last_block_length: Some(10),
                file_id: None,
            })
            .unwrap();
        located
    }
}

fn replica(block: &ExtendedBlock, length: u64, state: ReplicaState) -> Replica {
    Replica {
        block: block.block_id,
        stamp: block.generation_stamp,
        length,
        state: state as i32,
    }
}

fn class(outcome: Result<impl std::fmt::Debug, Exception>) -> String {
    outcome
        .unwrap_err()
        .class
        .rsplit('.')
        .next()
        .unwrap()
        .to_owned()
}

/// A thousand directories take some memory; a path of as many characters as a call may have would take
/// all there is.
#[test]
fn paths_have_a_length() {
    let mut bench = Bench::new();
    assert!(bench.mkdirs(&"/d".repeat(1000)).unwrap());
    let before = bench.state.tree.last_id;
    for path in ["/d".repeat(1001), format!("/{}", "d".repeat(8000))] {
        assert_eq!(class(bench.mkdirs(&path)), "IOException");
        assert_eq!(class(bench.create(&path, "c1")), "IOException");
        assert_eq!(
            bench.rename2("/d", &path, false, ""),
            Err("IOException".into())
        );
    }
    assert_eq!(bench.state.tree.last_id, before);
}

#[test]
fn lengths_that_a_writer_made_up_add_up_to_no_small_one() {
    let mut bench = Bench::new();
    let mut first = bench.open_file("/f").b;
    first.num_bytes = Some(u64::MAX);
    let second = bench.add_block("/f", "c1", Some(first)).unwrap();
    assert_eq!(second.offset, u64::MAX);
    let flushed = FsyncRequest {
        src: "/f".into(),
        client: "c1".into(),
        last_block_length: Some(i64::MAX),
        file_id: None,
    };
    bench.state.fsync(&flushed).unwrap();
    assert_eq!(bench.length("/f"), Some(u64::MAX));
    let sum = bench.state.summary("/").unwrap();
    assert_eq!((sum.length, sum.space_consumed), (u64::MAX, u64::MAX));
    let located = bench.state.block_locations("/f", 0, u64::MAX).unwrap();
    assert_eq!(located.blocks.len(), 1, "the other one is out of reach");
}

#[test]
fn names() {
    let mut bench = Bench::new();
    assert!(bench.mkdirs("/a/b").unwrap());
    bench.create("/a/f", "c1").unwrap();
    assert!(bench.complete("/a/f", "c1", None).unwrap());
    assert_eq!(
        class(bench.create("/a/f", "c1")),
        "FileAlreadyExistsException"
    );
    assert_eq!(
        class(bench.create("/a", "c1")),
        "FileAlreadyExistsException"
    );
    assert_eq!(
        class(bench.create("/a/f/g", "c1")),
        "ParentNotDirectoryException"
    );
    assert_eq!(class(bench.create("/a/./g", "c1")), "InvalidPathException");
    assert_eq!(class(bench.mkdirs("/a/f")), "FileAlreadyExistsException");
    // The old rename moves into a directory, and says no to everything else that is in its way.
    assert!(bench.rename("/a/f", "/a/b"));
    assert!(!bench.rename("/a/f", "/a/g"));
    assert!(bench.rename("/a/b/f", "/f"));
    assert!(!bench.rename("/a", "/a/b/c"));
    assert!(!bench.rename("/f", "/nowhere/f"));
    // The new one says why.
    assert_eq!(
        bench.rename2("/no", "/x", false, ""),
        Err("FileNotFoundException".into())
    );
    assert_eq!(
        bench.rename2("/f", "/f", false, ""),
        Err("FileAlreadyExistsException".into())
    );
    assert_eq!(
        bench.rename2("/f", "/no/f", false, ""),
        Err("FileNotFoundException".into())
    );
    assert_eq!(
        bench.rename2("/a", "/a/b/c", false, ""),
        Err("IOException".into())
    );
    bench.create("/g", "c1").unwrap();
    assert_eq!(
        bench.rename2("/f", "/g", false, ""),
        Err("FileAlreadyExistsException".into())
    );
    assert_eq!(bench.rename2("/f", "/g", true, "call"), Ok(()));
    // The same call once more, because its answer was lost; also after a restart.
    assert_eq!(bench.rename2("/f", "/g", true, "call"), Ok(()));
    bench.restart();
    assert_eq!(bench.rename2("/f", "/g", true, "call"), Ok(()));
    assert_eq!(
        bench.rename2("/f", "/g", true, "another"),
        Err("FileNotFoundException".into())
    );
    assert_eq!(
        class(bench.delete("/a", false)),
        "PathIsNotEmptyDirectoryException"
    );
    assert!(bench.delete("/a", true).unwrap());
    assert!(!bench.delete("/a", true).unwrap());
    assert!(!bench.delete("/", true).unwrap());
    assert_eq!((bench.length("/g"), bench.length("/a")), (Some(0), None));
}

#[test]
fn listings_come_in_pages() {
    let mut bench = Bench::new();
    for n in 0..2500 {
        bench.mkdirs(&format!("/d/{n:04}")).unwrap();
    }
    let (mut seen, mut start_after, mut pages) = (Vec::new(), Vec::new(), 0);
    loop {
        let page = bench
            .state
            .list(&GetListingRequest {
                src: "/d".into(),
                start_after,
                need_location: false,
            })
            .unwrap();
        pages += 1;
        seen.extend(
            page.partial_listing
                .iter()
                .map(|status| String::from_utf8(status.path.clone()).unwrap()),
        );
        start_after = page.partial_listing.last().unwrap().path.clone();
        assert_eq!(page.remaining_entries as usize, 2500 - seen.len());
        if page.remaining_entries == 0 {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert!(seen.into_iter().eq((0..2500).map(|n| format!("{n:04}"))));
}

#[test]
fn a_file_from_its_first_block_to_its_end() {
    let mut bench = Bench::new();
    let first = bench.open_file("/f").b;
    assert_eq!(
        class(bench.create("/f", "c2")),
        "AlreadyBeingCreatedException"
    );
    assert_eq!(
        class(bench.add_block("/f", "c2", None)),
        "LeaseExpiredException"
    );
    assert_eq!(
        class(bench.add_block("/no", "c1", None)),
        "FileNotFoundException"
    );
    // Flushed once with ten bytes: that is what is listed, whatever comes after.
    assert_eq!(bench.length("/f"), Some(10));
    let located = bench.state.block_locations("/f", 0, 1).unwrap();
    assert!(located.under_construction && !located.is_last_block_complete);
    assert_eq!(
        (
            located.file_length,
            located.last_block.unwrap().b.num_bytes()
        ),
        (0, 10)
    );
    // The next block is asked for twice, because the answer was lost, and is the same.
    let full = ExtendedBlock {
        num_bytes: Some(1 << 20),
        ..first.clone()
    };
    let second = bench.add_block("/f", "c1", Some(full.clone())).unwrap();
    assert_eq!(second.offset, 1 << 20);
    assert_eq!(bench.add_block("/f", "c1", Some(full)).unwrap().b, second.b);
    // A third has to wait for the report of the first.
    let end = ExtendedBlock {
        num_bytes: Some(7),
        ..second.b.clone()
    };
    assert_eq!(
        class(bench.add_block("/f", "c1", Some(end.clone()))),
        "NotReplicatedYetException"
    );
    bench.beat(
        "a",
        false,
        &[replica(&first, 1 << 20, ReplicaState::Finalized)],
        &[],
    );
    let third = bench.add_block("/f", "c1", Some(end.clone())).unwrap();
    bench
        .state
        .abandon_block(&AbandonBlockRequest {
            b: third.b,
            src: "/f".into(),
            holder: "c1".into(),
            file_id: None,
        })
        .unwrap();
    assert!(!bench.complete("/f", "c1", Some(end.clone())).unwrap());
    bench.beat(
        "b",
        false,
        &[replica(&second.b, 7, ReplicaState::Finalized)],
        &[],
    );
    assert!(bench.complete("/f", "c1", Some(end.clone())).unwrap());
    assert!(
        bench.complete("/f", "c1", Some(end)).unwrap(),
        "a repetition"
    );
    assert_eq!(
        class(bench.complete("/f", "c1", None)),
        "LeaseExpiredException"
    );
    assert_eq!(bench.length("/f"), Some((1 << 20) + 7));
    // After a restart the blocks are not known, which is safe mode, until they are reported.
    bench.restart();
    assert_eq!(class(bench.mkdirs("/d")), "SafeModeException");
    assert_eq!(
        class(bench.state.block_locations("/f", 0, 1)),
        "SafeModeException"
    );
    bench.beat(
        "a",
        true,
        &[replica(&first, 1 << 20, ReplicaState::Finalized)],
        &[],
    );
    assert_eq!(class(bench.mkdirs("/d")), "SafeModeException");
    bench.beat(
        "b",
        true,
        &[replica(&second.b, 7, ReplicaState::Finalized)],
        &[],
    );
    assert!(bench.mkdirs("/d").unwrap());
    // What nobody needs any more is deleted, also where it is reported later.
    bench.delete("/f", false).unwrap();
    let orders = bench.beat("a", false, &[], &[]);
    assert_eq!(
        orders
            .delete
            .iter()
            .map(|order| order.block)
            .collect::<Vec<_>>(),
        [first.block_id]
    );
    let orders = bench.beat(
        "c",
        true,
        &[replica(&second.b, 7, ReplicaState::Finalized)],
        &[],
    );
    assert_eq!(
        orders
            .delete
            .iter()
            .map(|order| order.block)
            .collect::<Vec<_>>(),
        [second.b.block_id]
    );
}

/// What a DataNode does until it is told nothing more: freeze what it has, seal what it is told to.
fn obey(
    bench: &mut Bench,
    node: &str,
    (state, length): (ReplicaState, u64),
    sealed: &mut Vec<(String, u64)>,
) {
    let mut orders = bench.beat(node, false, &[], &[]);
    while !orders.freeze.is_empty() || !orders.seal.is_empty() {
        let found: Vec<_> = orders
            .freeze
            .iter()
            .map(|order| Recovery {
                state: state as i32,
                length,
                ..*order
            })
            .collect();
        let done: Vec<_> = orders
            .seal
            .iter()
            .map(|order| Replica {
                block: order.block,
                stamp: order.stamp,
                length: order.length,
                state: ReplicaState::Finalized as i32,
            })
            .collect();
        sealed.extend(done.iter().map(|replica| (node.to_owned(), replica.length)));
        orders = bench.beat(node, false, &done, &found);
    }
}

/// Recovers a lease with DataNodes that have what `there` says, and returns what each has sealed.
fn recover(
    bench: &mut Bench,
    path: &str,
    there: &HashMap<&str, (ReplicaState, u64)>,
) -> Vec<(String, u64)> {
    let mut sealed = Vec::new();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let done = bench.state.recover_lease(path).unwrap();
        for (node, has) in there {
            obey(bench, node, *has, &mut sealed);
        }
        if done {
            break;
        }
        assert!(Instant::now() < until, "the recovery does not end");
    }
    sealed.sort();
    sealed
}

#[test]
fn leases_are_recovered_to_the_least_of_the_best() {
    use ReplicaState::{Absent, Finalized, Rbw, Rwr};
    let cases: [(_, _, u64, &[&str]); 6] = [
        ((Rbw, 30), (Rbw, 20), 20, &["a", "b"]),
        ((Rbw, 30), (Rwr, 40), 30, &["a"]),
        ((Rbw, 40), (Finalized, 35), 35, &["b"]),
        ((Absent, 0), (Rwr, 12), 12, &["b"]),
        ((Absent, 0), (Absent, 0), 0, &[]),
        ((Rbw, 0), (Rbw, 0), 0, &[]),
    ];
    for (a, b, length, keepers) in cases {
        let mut bench = Bench::new();
        bench.open_file("/f");
        let sealed = recover(&mut bench, "/f", &[("a", a), ("b", b)].into());
        let expected: Vec<_> = keepers
            .iter()
            .map(|node| ((*node).to_owned(), length))
            .collect();
        assert_eq!(sealed, expected, "{a:?} {b:?}");
        assert_eq!(bench.length("/f"), Some(length));
        assert!(
            !bench
                .state
                .block_locations("/f", 0, 1)
                .unwrap()
                .under_construction
        );
        // The old writer is shut out; the outcome survives a restart.
        assert_eq!(
            class(bench.add_block("/f", "c1", None)),
            "LeaseExpiredException"
        );
        bench.restart();
        assert_eq!(bench.length("/f"), Some(length));
    }
}

#[test]
fn a_recovery_waits_for_the_only_datanode_that_has_the_bytes() {
    let mut bench = Bench::new();
    let block = bench.open_file("/f").b;
    bench.restart();
    // Nobody has reported yet, but bytes were flushed: the block is not dropped.
    assert!(!bench.state.recover_lease("/f").unwrap());
    bench.beat("a", true, &[replica(&block, 25, ReplicaState::Rbw)], &[]);
    assert_eq!(
        recover(&mut bench, "/f", &[("a", (ReplicaState::Rbw, 25))].into()),
        [("a".to_owned(), 25)]
    );
    assert_eq!(bench.length("/f"), Some(25));
}

#[test]
fn a_datanode_left_behind_by_its_pipeline_has_no_say() {
    let mut bench = Bench::new();
    let old = bench.open_file("/f").b;
    let request = UpdateBlockForPipelineRequest {
        block: old.clone(),
        client_name: "c1".into(),
    };
    let stamp = bench
        .state
        .update_block_for_pipeline(&request)
        .unwrap()
        .b
        .generation_stamp;
    let new = ExtendedBlock {
        generation_stamp: stamp,
        num_bytes: Some(50),
        ..old.clone()
    };
    let a = DatanodeId {
        datanode_uuid: "a".into(),
        ..DatanodeId::default()
    };
    let request = UpdatePipelineRequest {
        client_name: "c1".into(),
        old_block: old.clone(),
        new_block: new.clone(),
        new_nodes: vec![a],
        storage_ids: Vec::new(),
    };
    bench.state.update_pipeline(&request).unwrap();
    assert_eq!(class(bench.state.update_pipeline(&request)), "IOException");
    // The other one comes back with less.
    bench.beat("b", true, &[replica(&old, 10, ReplicaState::Rwr)], &[]);
    bench.beat("a", false, &[replica(&new, 60, ReplicaState::Rbw)], &[]);
    let there = [
        ("a", (ReplicaState::Rbw, 60)),
        ("b", (ReplicaState::Rwr, 10)),
    ]
    .into();
    assert_eq!(recover(&mut bench, "/f", &there), [("a".to_owned(), 60)]);
    // And once the file is closed it may delete what it has.
    let orders = bench.beat("b", true, &[replica(&old, 10, ReplicaState::Rwr)], &[]);
    assert_eq!(orders.delete.len(), 1);
}

#[test]
fn strangers_and_the_dead_get_no_blocks() {
    let mut bench = Bench::new();
    bench.create("/f", "c1").unwrap();
    let refused = bench.add_block("/f", "c1", None).unwrap_err();
    assert!(
        refused
            .message
            .contains("There are 0 datanode(s) running and no node(s) are excluded"),
        "{}",
        refused.message
    );
    // A DataNode nobody knows has to tell everything first; one of another file system is not let in.
    assert!(bench.beat("a", false, &[], &[]).tell_all);
    let id = DatanodeId {
        datanode_uuid: "z".into(),
        ..DatanodeId::default()
    };
    let orders = bench.state.beat(&Beat {
        node: id,
        full: true,
        pool: "BP-other".into(),
        ..Beat::default()
    });
    assert!(!orders.tell_all && orders.pool != "BP-other");
    assert_eq!(class(bench.add_block("/f", "c1", None)), "IOException");
    bench.beat("a", true, &[], &[]);
    let node = bench.state.nodes.get_mut("a").unwrap();
    node.last = Instant::now().checked_sub(Duration::from_secs(4)).unwrap();
    assert_eq!(class(bench.add_block("/f", "c1", None)), "IOException");
    assert!(bench.beat("a", false, &[], &[]).tell_all, "it was dead");
    bench.beat("a", true, &[], &[]);
    assert_eq!(bench.add_block("/f", "c1", None).unwrap().locs.len(), 1);
}
