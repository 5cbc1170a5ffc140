//! `ClientProtocol`: the table of methods, and what each does.

use flume_bench_hadoop::client_protocol as pb;
use flume_bench_hadoop::client_protocol::{Empty, SafeModeAction};
use flume_bench_hadoop::common::{ChecksumType, DatanodeInfos, FsServerDefaults, QuotaUsage};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::NameNode;
use super::edits::Attributes;
use super::state::{State, give_up};
use crate::ipc::{Answer, Call, Exception, Service, answer};
use crate::{link, lock};

/// How long a call waits for a DataNode's report, which is on its way when a writer says that a block has
/// ended. Longer than a report takes, much shorter than any client's patience.
pub(super) const REPORT_WAIT: Duration = Duration::from_millis(50);

type Method = fn(&mut State, &Call<'_>) -> Answer;

/// Methods that need nothing but the state, sorted.
const METHODS: &[(&str, Method)] = &[
    ("abandonBlock", |state, call| {
        state
            .abandon_block(&call.request()?)
            .and_then(|()| answer(&Empty {}))
    }),
    ("append", |_, call| {
        let request: pb::AppendRequest = call.request()?;
        Err(Exception::new(
            "java.lang.UnsupportedOperationException",
            format!(
                "append to {}: the embedded HDFS does not append; write another file",
                request.src
            ),
        ))
    }),
    ("checkAccess", |state, call| {
        let request: pb::CheckAccessRequest = call.request()?;
        state.find(&request.path)?;
        answer(&Empty {})
    }),
    ("create", |state, call| {
        let status = state.create(&call.request()?, call.user, name_of(call))?;
        answer(&pb::CreateResponse { fs: Some(status) })
    }),
    ("delete", |state, call| {
        let result = state.delete(&call.request()?, name_of(call))?;
        answer(&pb::DeleteResponse { result })
    }),
    ("fsync", |state, call| {
        state
            .fsync(&call.request()?)
            .and_then(|()| answer(&Empty {}))
    }),
    ("getAdditionalDatanode", |state, call| {
        let block = state.additional_datanode(&call.request()?)?;
        answer(&pb::GetAdditionalDatanodeResponse { block })
    }),
    ("getBlockLocations", |state, call| {
        let request: pb::GetBlockLocationsRequest = call.request()?;
        let locations = state.block_locations(&request.src, request.offset, request.length)?;
        answer(&pb::GetBlockLocationsResponse {
            locations: Some(locations),
        })
    }),
    ("getContentSummary", |state, call| {
        let request: pb::GetContentSummaryRequest = call.request()?;
        answer(&pb::GetContentSummaryResponse {
            summary: state.summary(&request.path)?,
        })
    }),
    ("getDataEncryptionKey", |_, _| answer(&Empty {})),
    ("getDatanodeReport", |state, call| {
        let request: pb::GetDatanodeReportRequest = call.request()?;
        let wanted = |alive: bool| match request.r#type() {
            pb::DatanodeReportType::All => true,
            pb::DatanodeReportType::Live => alive,
            pb::DatanodeReportType::Dead => !alive,
            _ => false,
        };
        let nodes = state
            .nodes
            .values()
            .filter(|node| wanted(node.alive()))
            .map(|node| node.info());
        answer(&DatanodeInfos {
            datanodes: nodes.collect(),
        })
    }),
    ("getFileInfo", |state, call| {
        let request: pb::GetFileInfoRequest = call.request()?;
        answer(&pb::GetFileInfoResponse {
            fs: state.file_info(&request.src, false),
        })
    }),
    ("getFileLinkInfo", |state, call| {
        let request: pb::GetFileLinkInfoRequest = call.request()?;
        answer(&pb::GetFileLinkInfoResponse {
            fs: state.file_info(&request.src, false),
        })
    }),
    ("getFsStats", |state, _| {
        let nodes: Vec<_> = state.live().map(|node| node.info()).collect();
        let sum = |part: fn(&flume_bench_hadoop::common::DatanodeInfo) -> u64| {
            nodes.iter().map(part).fold(0, u64::saturating_add)
        };
        answer(&pb::GetFsStatsResponse {
            capacity: sum(|node| node.capacity()),
            used: sum(|node| node.dfs_used()),
            remaining: sum(|node| node.remaining()),
            missing_blocks: state.unreported.len() as u64,
            ..pb::GetFsStatsResponse::default()
        })
    }),
    ("getLinkTarget", |state, call| {
        let request: pb::GetLinkTargetRequest = call.request()?;
        state.find(&request.path)?;
        answer(&pb::GetLinkTargetResponse { target_path: None })
    }),
    ("getListing", |state, call| {
        answer(&pb::GetListingResponse {
            dir_list: state.list(&call.request()?),
        })
    }),
    ("getLocatedFileInfo", |state, call| {
        let request: pb::GetLocatedFileInfoRequest = call.request()?;
        answer(&pb::GetLocatedFileInfoResponse {
            fs: state.file_info(request.src(), true),
        })
    }),
    ("getPreferredBlockSize", |state, call| {
        let request: pb::GetPreferredBlockSizeRequest = call.request()?;
        let bsize = state
            .find(&request.filename)?
            .file()
            .map_or(0, |content| content.block_size);
        answer(&pb::GetPreferredBlockSizeResponse { bsize })
    }),
    ("getQuotaUsage", |state, call| {
        let request: pb::GetQuotaUsageRequest = call.request()?;
        let sum = state.summary(&request.path)?;
        let usage = QuotaUsage {
            file_and_directory_count: sum.file_count + sum.directory_count,
            quota: u64::MAX,
            space_consumed: sum.space_consumed,
            space_quota: u64::MAX,
        };
        answer(&pb::GetQuotaUsageResponse { usage })
    }),
    ("getServerDefaults", |state, _| {
        answer(&pb::GetServerDefaultsResponse {
            server_defaults: defaults(state),
        })
    }),
    ("isFileClosed", |state, call| {
        let request: pb::IsFileClosedRequest = call.request()?;
        let content = state
            .find(&request.src)?
            .file()
            .ok_or_else(|| Exception::not_found(&request.src))?;
        answer(&pb::IsFileClosedResponse {
            result: content.holder.is_none(),
        })
    }),
    ("mkdirs", |state, call| {
        let result = state.mkdirs(&call.request()?, call.user)?;
        answer(&pb::MkdirsResponse { result })
    }),
    ("msync", |_, _| answer(&Empty {})),
    ("recoverLease", |state, call| {
        let request: pb::RecoverLeaseRequest = call.request()?;
        answer(&pb::RecoverLeaseResponse {
            result: state.recover_lease(&request.src)?,
        })
    }),
    ("rename", |state, call| {
        let result = state.rename(&call.request()?, name_of(call))?;
        answer(&pb::RenameResponse { result })
    }),
    ("rename2", |state, call| {
        state
            .rename2(&call.request()?, name_of(call))
            .and_then(|()| answer(&Empty {}))
    }),
    // Leases do not expire here: only recoverLease ends one.
    ("renewLease", |state, _| {
        state
            .writable("renew a lease")
            .and_then(|()| answer(&Empty {}))
    }),
    ("reportBadBlocks", |_, _| answer(&Empty {})),
    ("setOwner", |state, call| {
        let request: pb::SetOwnerRequest = call.request()?;
        let new = Attributes {
            owner: request.username,
            group: request.groupname,
            ..Attributes::default()
        };
        state
            .change(&request.src, new)
            .and_then(|()| answer(&Empty {}))
    }),
    ("setPermission", |state, call| {
        let request: pb::SetPermissionRequest = call.request()?;
        let new = Attributes {
            perm: Some(request.permission.perm),
            ..Attributes::default()
        };
        state
            .change(&request.src, new)
            .and_then(|()| answer(&Empty {}))
    }),
    ("setReplication", |state, call| {
        let request: pb::SetReplicationRequest = call.request()?;
        let result = state
            .tree
            .at(&request.src)
            .is_some_and(|inode| inode.file().is_some());
        if result {
            state.change(
                &request.src,
                Attributes {
                    replication: Some(request.replication),
                    ..Attributes::default()
                },
            )?;
        }
        answer(&pb::SetReplicationResponse { result })
    }),
    ("setSafeMode", |state, call| {
        let request: pb::SetSafeModeRequest = call.request()?;
        match request.action() {
            SafeModeAction::SafemodeEnter => state.orders.safe_mode.store(true, Ordering::Release),
            SafeModeAction::SafemodeGet => {}
            SafeModeAction::SafemodeLeave | SafeModeAction::SafemodeForceExit => {
                state.orders.safe_mode.store(false, Ordering::Release);
                state.unreported.clear();
            }
        }
        answer(&pb::SetSafeModeResponse {
            result: state.in_safe_mode(),
        })
    }),
    ("setTimes", |state, call| {
        let request: pb::SetTimesRequest = call.request()?;
        // Java sends -1 for a time that is to stay.
        let time = |time: u64| (time != u64::MAX).then_some(time);
        let new = Attributes {
            mtime: time(request.mtime),
            atime: time(request.atime),
            ..Attributes::default()
        };
        state
            .change(&request.src, new)
            .and_then(|()| answer(&Empty {}))
    }),
    ("updateBlockForPipeline", |state, call| {
        let block = state.update_block_for_pipeline(&call.request()?)?;
        answer(&pb::UpdateBlockForPipelineResponse { block })
    }),
    ("updatePipeline", |state, call| {
        state
            .update_pipeline(&call.request()?)
            .and_then(|()| answer(&Empty {}))
    }),
];

fn defaults(state: &State) -> FsServerDefaults {
    FsServerDefaults {
        block_size: state.block_size,
        bytes_per_checksum: 512,
        write_packet_size: 64 << 10,
        replication: state.replication,
        file_buffer_size: 4096,
        encrypt_data_transfer: Some(false),
        trash_interval: Some(0),
        checksum_type: Some(ChecksumType::ChecksumCrc32c as i32),
        key_provider_uri: Some(String::new()),
        policy_id: Some(0),
    }
}

/// The name under which a client repeats a call; empty if it does not name itself.
fn name_of(call: &Call<'_>) -> String {
    use std::fmt::Write;
    let (client, number) = call.id;
    let mut name = String::new();
    if !client.is_empty() {
        for byte in client {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        let _ = write!(name, ":{number}");
    }
    name
}

impl Service for NameNode {
    fn call(&self, call: &Call<'_>) -> Answer {
        let outcome = match (call.protocol, call.method) {
            (link::PROTOCOL, link::BEAT) => self.beat(call),
            // These two wait for a DataNode's report if need be.
            (_, "complete") => self.complete(call),
            (_, "addBlock") => self.add_block(call),
            (_, method) => match METHODS.binary_search_by_key(&method, |(name, _)| name) {
                Ok(found) => METHODS[found].1(&mut lock(&self.state), call),
                Err(_) => Err(call.unknown()),
            },
        };
        // What was written on the way must last, whatever the outcome: another client may have seen it.
        self.synced();
        outcome
    }
}

impl NameNode {
    /// Waits until all that was written is on disk.
    fn synced(&self) {
        if let Err(error) = self.log.sync(self.log.written()) {
            give_up(&error);
        }
    }

    fn beat(&self, call: &Call<'_>) -> Answer {
        let orders = lock(&self.state).beat(&call.request()?);
        self.reported.notify_all();
        answer(&orders)
    }

    fn complete(&self, call: &Call<'_>) -> Answer {
        let request = call.request()?;
        let result = self.when_reported(
            |state| state.complete(&request),
            |outcome| *outcome == Ok(false),
        )?;
        answer(&pb::CompleteResponse { result })
    }

    fn add_block(&self, call: &Call<'_>) -> Answer {
        let request = call.request()?;
        let early = |outcome: &Result<_, Exception>| {
            outcome
                .as_ref()
                .is_err_and(|refused| refused.class.ends_with("NotReplicatedYetException"))
        };
        let block = self.when_reported(|state| state.add_block(&request), early)?;
        answer(&pb::AddBlockResponse { block })
    }

    /// Repeats a step while it comes too early, for a short time.
    fn when_reported<T>(
        &self,
        mut step: impl FnMut(&mut State) -> T,
        early: impl Fn(&T) -> bool,
    ) -> T {
        let until = Instant::now() + self.report_wait;
        let mut state = lock(&self.state);
        loop {
            let outcome = step(&mut state);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !early(&outcome) {
                return outcome;
            }
            state = match self.reported.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::METHODS;

    #[test]
    fn the_table_is_sorted() {
        assert!(METHODS.windows(2).all(|two| two[0].0 < two[1].0));
    }
}
