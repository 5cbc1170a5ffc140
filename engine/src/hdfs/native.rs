//! The calls of [`Hdfs`] on a real cluster, and what keeps its open files alive.
//!
//! One thread per file system, started with the first file, renews the lease while files are open
//! and sends heartbeats on idle pipelines. It ends with the file system.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flume_bench_hadoop::client_protocol::{
    CreateFlag, CreateRequest, CreateResponse, DeleteRequest, DeleteResponse, Empty,
    GetFileInfoRequest, GetFileInfoResponse, GetListingRequest, GetListingResponse,
    GetServerDefaultsRequest, GetServerDefaultsResponse, MkdirsRequest, MkdirsResponse,
    RecoverLeaseRequest, RecoverLeaseResponse, Rename2Request, RenewLeaseRequest,
};
use flume_bench_hadoop::common::{
    DatanodeInfo, FileType, FsPermission, FsServerDefaults, HdfsFileStatus,
};
use tracing::{debug, warn};

use super::conf::ClientConf;
use super::file::NativeFile;
use super::pipeline::Pipeline;
use super::rpc::Rpc;
use super::{Deadline, FileStatus, Hdfs, HdfsError, HdfsFile};
use crate::stop::Stop;

/// How often the lease is renewed; others may take it after 60 s.
const RENEW_EVERY: Duration = Duration::from_secs(20);

/// How long a DataNode that failed is left out.
const EXCLUDE_FOR: Duration = Duration::from_secs(10);

/// The modes that Hadoop gives under its default umask of 022.
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

/// What files and the thread share with the file system.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) rpc: Rpc,
    pub(super) conf: ClientConf,
    pub(super) client_name: String,
    defaults: OnceLock<FsServerDefaults>,
    open_files: AtomicUsize,
    pipelines: Mutex<Vec<Weak<Mutex<Pipeline>>>>,
    excluded: Mutex<HashMap<String, (DatanodeInfo, Instant)>>,
}

impl Shared {
    pub(super) fn file_opened(&self) {
        self.open_files.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn file_gone(&self) {
        self.open_files.fetch_sub(1, Ordering::Relaxed);
    }

    /// Has a pipeline kept alive while it exists.
    pub(super) fn watch(&self, pipeline: &Arc<Mutex<Pipeline>>) {
        let mut pipelines = lock(&self.pipelines);
        pipelines.retain(|known| known.strong_count() > 0);
        pipelines.push(Arc::downgrade(pipeline));
    }

    /// Leaves a DataNode out for a while.
    pub(super) fn exclude(&self, node: &DatanodeInfo) {
        let entry = (node.clone(), Instant::now());
        lock(&self.excluded).insert(node.id.datanode_uuid.clone(), entry);
    }

    pub(super) fn excluded(&self) -> Vec<DatanodeInfo> {
        let mut excluded = lock(&self.excluded);
        excluded.retain(|_, (_, since)| since.elapsed() < EXCLUDE_FOR);
        excluded.values().map(|(node, _)| node.clone()).collect()
    }

    /// Answers whether any node was left out.
    pub(super) fn forget_excluded(&self) -> bool {
        !std::mem::take(&mut *lock(&self.excluded)).is_empty()
    }

    fn defaults(&self, deadline: Deadline) -> Result<&FsServerDefaults, HdfsError> {
        if let Some(known) = self.defaults.get() {
            return Ok(known);
        }
        let answer: GetServerDefaultsResponse = self.rpc.call(
            "getServerDefaults",
            "/",
            &GetServerDefaultsRequest {},
            deadline,
        )?;
        Ok(self.defaults.get_or_init(|| answer.server_defaults))
    }

    /// The thread: until `stop`, renews the lease and sends heartbeats.
    fn keep(&self, stop: &Stop) {
        let mut renewed = Instant::now();
        while !stop.wait(Duration::from_secs(1)) {
            let pipelines: Vec<_> = lock(&self.pipelines)
                .iter()
                .filter_map(Weak::upgrade)
                .collect();
            for pipeline in pipelines {
                // A pipeline in use needs no heartbeat, and must not be waited for.
                if let Ok(mut pipeline) = pipeline.try_lock() {
                    pipeline.keep_alive();
                }
            }
            if renewed.elapsed() < RENEW_EVERY || self.open_files.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let request = RenewLeaseRequest {
                client_name: self.client_name.clone(),
            };
            let deadline = Deadline::after(Duration::from_secs(2));
            match self
                .rpc
                .call::<Empty>("renewLease", "of this agent", &request, deadline)
            {
                Ok(_) => renewed = Instant::now(),
                Err(error) => warn!(%error, "lease not renewed; trying again"),
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cluster.
#[derive(Debug)]
pub(super) struct Native {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    stop: Stop,
}

impl Native {
    pub(super) fn new(conf: ClientConf) -> Self {
        // Distinct among all clients of the cluster; nothing depends on what it is.
        let chance = || RandomState::new().hash_one(std::process::id());
        let (one, two) = (chance(), chance());
        let mut client_id = [0; 16];
        client_id[..8].copy_from_slice(&one.to_be_bytes());
        client_id[8..].copy_from_slice(&two.to_be_bytes());
        let shared = Shared {
            rpc: Rpc::new(conf.namenodes.clone(), conf.user.clone(), client_id),
            conf,
            client_name: format!("flume-bench_{}_{one:016x}", std::process::id()),
            defaults: OnceLock::new(),
            open_files: AtomicUsize::new(0),
            pipelines: Mutex::default(),
            excluded: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            keeper: Mutex::default(),
            stop: Stop::new(),
        }
    }

    fn start_keeper(&self) -> Result<(), HdfsError> {
        let mut keeper = lock(&self.keeper);
        if keeper.is_none() {
            let shared = Arc::clone(&self.shared);
            let stop = self.stop.clone();
            let thread = std::thread::Builder::new()
                .name("hdfs-keeper".to_owned())
                .spawn(move || shared.keep(&stop))
                .map_err(|source| HdfsError::Io {
                    what: "starting the thread that renews leases of",
                    target: self.shared.conf.namenodes.join(","),
                    source,
                })?;
            *keeper = Some(thread);
        }
        Ok(())
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(keeper) = lock(&self.keeper).take() {
            let _ = keeper.join();
        }
    }
}

impl Hdfs for Native {
    fn create(&self, path: &str, deadline: Deadline) -> Result<Box<dyn HdfsFile>, HdfsError> {
        self.start_keeper()?;
        let shared = &self.shared;
        let defaults = shared.defaults(deadline)?;
        let block_size = shared.conf.block_size.unwrap_or(defaults.block_size);
        let request = CreateRequest {
            src: path.to_owned(),
            masked: FsPermission { perm: FILE_MODE },
            client_name: shared.client_name.clone(),
            create_flag: CreateFlag::Create as u32,
            create_parent: true,
            replication: shared.conf.replication.unwrap_or(defaults.replication),
            block_size,
            ..CreateRequest::default()
        };
        let answer: CreateResponse = shared.rpc.call("create", path, &request, deadline)?;
        let status = answer.fs.unwrap_or_default();
        let block_size = status
            .blocksize
            .filter(|size| *size > 0)
            .unwrap_or(block_size);
        debug!(path, block_size, "created");
        Ok(Box::new(NativeFile::new(
            Arc::clone(shared),
            path.to_owned(),
            status.file_id(),
            block_size,
        )))
    }

    fn rename(&self, from: &str, to: &str, deadline: Deadline) -> Result<(), HdfsError> {
        let request = Rename2Request {
            src: from.to_owned(),
            dst: to.to_owned(),
            overwrite_dest: false,
            ..Rename2Request::default()
        };
        self.shared
            .rpc
            .call::<Empty>("rename2", from, &request, deadline)
            .map(drop)
    }

    fn recover_lease(&self, path: &str, deadline: Deadline) -> Result<bool, HdfsError> {
        let request = RecoverLeaseRequest {
            src: path.to_owned(),
            client_name: self.shared.client_name.clone(),
        };
        let answer: RecoverLeaseResponse =
            self.shared
                .rpc
                .call("recoverLease", path, &request, deadline)?;
        Ok(answer.result)
    }

    fn delete(&self, path: &str, deadline: Deadline) -> Result<bool, HdfsError> {
        let request = DeleteRequest {
            src: path.to_owned(),
            recursive: false,
        };
        let answer: DeleteResponse = self.shared.rpc.call("delete", path, &request, deadline)?;
        Ok(answer.result)
    }

    fn status(&self, path: &str, deadline: Deadline) -> Result<Option<FileStatus>, HdfsError> {
        let request = GetFileInfoRequest {
            src: path.to_owned(),
        };
        let answer: GetFileInfoResponse =
            self.shared
                .rpc
                .call("getFileInfo", path, &request, deadline)?;
        Ok(answer
            .fs
            .map(|status| file_status(path.to_owned(), &status)))
    }

    fn mkdirs(&self, path: &str, deadline: Deadline) -> Result<(), HdfsError> {
        let request = MkdirsRequest {
            src: path.to_owned(),
            masked: FsPermission { perm: DIR_MODE },
            create_parent: true,
            unmasked: None,
        };
        self.shared
            .rpc
            .call::<MkdirsResponse>("mkdirs", path, &request, deadline)
            .map(drop)
    }

    fn list(&self, path: &str, deadline: Deadline) -> Result<Vec<FileStatus>, HdfsError> {
        let mut entries = Vec::new();
        let mut start_after = Vec::new();
        loop {
            let request = GetListingRequest {
                src: path.to_owned(),
                start_after,
                need_location: false,
            };
            let answer: GetListingResponse =
                self.shared
                    .rpc
                    .call("getListing", path, &request, deadline)?;
            let listing = answer.dir_list.ok_or_else(|| HdfsError::Remote {
                what: "getListing".to_owned(),
                path: path.to_owned(),
                class: "java.io.FileNotFoundException".to_owned(),
                message: "there is no such path".to_owned(),
            })?;
            for status in &listing.partial_listing {
                let name = String::from_utf8_lossy(&status.path);
                entries.push(file_status(
                    format!("{}/{name}", path.trim_end_matches('/')),
                    status,
                ));
            }
            let last = listing.partial_listing.last();
            match last.filter(|_| listing.remaining_entries > 0) {
                Some(last) => start_after = last.path.clone(),
                None => return Ok(entries),
            }
        }
    }
}

fn file_status(path: String, status: &HdfsFileStatus) -> FileStatus {
    FileStatus {
        path,
        is_dir: status.file_type() == FileType::IsDir,
        length: status.length,
    }
}
