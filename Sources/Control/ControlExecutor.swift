import Dispatch

/// Runs the control actor on a queue of its own: its system calls block for milliseconds (loading a program, waiting for
/// an RCU grace period), and must not hold up the cooperative pool that answers health checks.
final class ControlExecutor: SerialExecutor {
  private let queue = DispatchQueue(label: "sluice.control")

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
  }
}
