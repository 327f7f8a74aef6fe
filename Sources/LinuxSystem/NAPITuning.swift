import Glibc

/// How an interface defers its interrupts, for sockets that poll it: set while the value lives, put back when it goes.
///
/// With both numbers above zero the device's queues are polled by their users, and interrupts come only when nobody
/// polled for ``groFlushTimeoutNanoseconds``. Needs CAP_NET_ADMIN and a writable /sys of the interface's network
/// namespace.
public struct NAPITuning: ~Copyable, Sendable {
  /// `napi_defer_hard_irqs`: how often an empty poll leaves the interrupt off.
  public let deferredInterruptCount: UInt32
  /// `gro_flush_timeout`: how long it then stays off, in nanoseconds.
  public let groFlushTimeoutNanoseconds: UInt64
  private let folder: String
  private let previousCount: String
  private let previousTimeout: String

  /// - Parameter root: Where sysfs is mounted.
  public init(
    interface: NetworkInterface, deferredInterruptCount: UInt32 = 2, groFlushTimeoutNanoseconds: UInt64 = 200_000,
    root: String = "/sys"
  ) throws(SystemError) {
    let folder = "\(root)/class/net/\(interface.name)"
    let previousCount = try SmallFile.readText("\(folder)/napi_defer_hard_irqs")
    let previousTimeout = try SmallFile.readText("\(folder)/gro_flush_timeout")
    try NAPITuning.set(folder, count: "\(deferredInterruptCount)", timeout: "\(groFlushTimeoutNanoseconds)") {
      NAPITuning.restore(folder, previousCount, previousTimeout)
    }
    self.deferredInterruptCount = deferredInterruptCount
    self.groFlushTimeoutNanoseconds = groFlushTimeoutNanoseconds
    self.folder = folder
    self.previousCount = previousCount
    self.previousTimeout = previousTimeout
  }

  deinit { NAPITuning.restore(folder, previousCount, previousTimeout) }

  private static func set(
    _ folder: String, count: String, timeout: String, orElse undo: () -> Void
  ) throws(SystemError) {
    do throws(SystemError) {
      try SmallFile.overwrite("\(folder)/napi_defer_hard_irqs", with: count)
      try SmallFile.overwrite("\(folder)/gro_flush_timeout", with: timeout)
    } catch {
      undo()
      throw error
    }
  }

  /// The interface may be gone; then there is nothing to put back.
  private static func restore(_ folder: String, _ count: String, _ timeout: String) {
    try? set(folder, count: count, timeout: timeout) {}
  }
}
