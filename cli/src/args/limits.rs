//! What steps and containers may use, as `docker run` and `docker build` take it.

use clap::Args;

#[derive(Debug, Default, Args)]
pub(crate) struct LimitArgs {
    /// Most memory, such as 512m
    #[arg(short, long, value_name = "BYTES")]
    pub(crate) memory: Option<String>,

    /// Most memory and swap together; -1 is unlimited [default: twice the memory]
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<String>,

    /// Number of processors, such as 1.5
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<String>,

    /// Microseconds of processor time in each period
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_quota: Option<u64>,

    /// Length of a period [default: 100000]
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<u64>,

    /// Weight against others [default: 1024]
    #[arg(short, long, value_name = "N")]
    pub(crate) cpu_shares: Option<u64>,

    /// Processors that may be used, such as 0-2,5
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,

    /// Memory nodes that may be used
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_mems: Option<String>,

    /// Most processes and threads; -1 is unlimited
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,

    /// Control group that those of Kiln are made in
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_parent: Option<String>,

    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,

    /// Limit of each process
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<String>,
}
