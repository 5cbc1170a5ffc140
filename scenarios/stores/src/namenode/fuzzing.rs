//! The fuzz target of the NameNode: calls, reports of DataNodes, and HTTP requests.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::NameNode;
use super::edits::{Edit, EditLog};
use super::state::State;
use super::tree::{ROOT, Tree};
use crate::fuzzing::{Frames, Scratch, ask, connections};
use crate::ipc;
use crate::orders::Orders;

/// The block pool: that of the DataNode whose reports were recorded.
const POOL: &str = "BP-1415981250-127.0.0.1-1795418504054";

/// Serves the connections of an input, on a NameNode with an empty namespace.
///
/// Orders hold for nobody but safe mode: they would have calls wait, or answered by half.
pub fn namenode(input: &[u8]) {
    namespace_after(input);
}

/// The namespace that a conversation leaves.
fn namespace_after(input: &[u8]) -> Tree {
    let scratch = Scratch::new();
    let log = EditLog::open(scratch.path()).map(|(log, _)| log);
    let pool = POOL.to_owned();
    let formatted = log.is_ok_and(|log| log.write(&Edit::Format { pool }).is_ok());
    assert!(formatted, "a directory of its own");
    let namenode = opened(&scratch);
    for (port, bytes) in connections(input) {
        if port & 1 == 0 {
            // However it ends: what was answered until then must be true.
            let _ = ipc::converse(bytes, Frames, &namenode, &Orders::default());
        } else if let Some((head, body)) = ask(bytes, |request| namenode.web(request)) {
            let length = format!("\r\nContent-Length: {}\r\n", body.len());
            assert!(head.contains(&length), "{} bytes after {head}", body.len());
        }
    }
    let tree = namespace(namenode);
    assert_sound(&tree);
    assert_eq!(tree, namespace(opened(&scratch)), "after a restart");
    tree
}

fn opened(scratch: &Scratch) -> NameNode {
    let orders = Arc::new(Orders::default());
    let state = State::open(scratch.path(), 1, 128 << 20, Arc::clone(&orders));
    let state = match state {
        Ok(state) => state,
        Err(error) => unreachable!("a log that it wrote itself: {error}"),
    };
    NameNode {
        rpc: "127.0.0.1:8020".to_owned(),
        log: Arc::clone(&state.log),
        state: Mutex::new(state),
        reported: Condvar::new(),
        // Nobody is going to report while a call waits.
        report_wait: Duration::ZERO,
        orders,
    }
}

fn namespace(namenode: NameNode) -> Tree {
    let state = namenode.state.into_inner();
    state.unwrap_or_else(PoisonError::into_inner).tree
}

/// Whatever is there has a place, and is found at it.
fn assert_sound(tree: &Tree) {
    for inode in tree.all() {
        let listed = tree
            .get(inode.parent)
            .and_then(|parent| parent.entries()?.get(&inode.name));
        assert!(
            inode.id == ROOT || listed == Some(&inode.id),
            "{inode:?} is in no directory"
        );
        for id in inode
            .entries()
            .into_iter()
            .flat_map(|entries| entries.values())
        {
            assert!(tree.get(*id).is_some(), "{inode:?} lists {id}");
        }
        let blocks = inode.file().map(|file| file.blocks.as_slice());
        for block in blocks.unwrap_or_default() {
            let owner = tree.owner(block.id).map(|owner| owner.id);
            assert_eq!(owner, Some(inode.id), "{block:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Otherwise the mutations of it would be those of refusals.
    #[test]
    fn the_target_gets_to_a_file_that_a_java_client_wrote() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/namenode");
        let input = std::fs::read(corpus.join("java-put")).unwrap();
        let tree = namespace_after(&input);
        let file = tree
            .at("/cap/in.txt")
            .and_then(|inode| inode.file())
            .unwrap();
        assert_eq!((file.length(), file.holder.as_deref()), (750, None));
    }
}
