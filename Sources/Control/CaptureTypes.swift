import DataPlane
import LinuxSystem

/// A capture as asked for. Limits of 0 are none.
public struct CaptureOptions: Hashable, Sendable {
  public var interface: String
  /// A file name, or an absolute path, in the capture directory; empty: a name is made of interface and time.
  public var path: String
  /// Bytes kept of each packet; 0: all, up to 262,144.
  public var snapLength: UInt32
  /// Write one of N packets; 0 and 1: all.
  public var sampleEvery: UInt32
  public var packetLimit: UInt64
  public var byteLimit: UInt64
  public var durationMilliseconds: UInt64
  /// Ring of files: change the file after so many bytes, keep so many files.
  public var fileByteLimit: UInt64
  public var fileCount: UInt32
  /// Only packets captured by these rules; empty: all.
  public var rules: [String]

  public init(
    interface: String, path: String = "", snapLength: UInt32 = 0, sampleEvery: UInt32 = 0, packetLimit: UInt64 = 0,
    byteLimit: UInt64 = 0, durationMilliseconds: UInt64 = 0, fileByteLimit: UInt64 = 0, fileCount: UInt32 = 0,
    rules: [String] = []
  ) {
    self.interface = interface
    self.path = path
    self.snapLength = snapLength
    self.sampleEvery = sampleEvery
    self.packetLimit = packetLimit
    self.byteLimit = byteLimit
    self.durationMilliseconds = durationMilliseconds
    self.fileByteLimit = fileByteLimit
    self.fileCount = fileCount
    self.rules = rules
  }
}

/// A running or finished capture.
public struct CaptureReport: Hashable, Sendable {
  public var identifier: String
  /// With the path as it was resolved.
  public var options: CaptureOptions
  public var summary: CaptureSummary
  /// It went to its caller, and has no files.
  public var isStream = false
}

/// The captures that run, and the last ones that have finished.
struct CaptureTable {
  static let runningMax = 16
  static let finishedMax = 64

  struct Running {
    let options: CaptureOptions
    let session: CaptureSession
    let memoryByteCount: Int
    var isStream = false
    /// It was asked to end.
    var isEnding = false
    /// Its disk takes longer than anybody waits.
    var isLeft = false
  }

  private(set) var running: [String: Running] = [:]
  private(set) var finished: [CaptureReport] = []
  private var waiters: [String: [CheckedContinuation<CaptureReport, Never>]] = [:]
  private var lastNumber = 0
  /// When this daemon began: an identifier never means a capture of an earlier one, which others may remember.
  private let era = String(SystemClock.realtimeNanoseconds() / 1_000_000, radix: 36)
  /// Of finished captures, those that are no longer listed too.
  private var finishedTotals = ControlStatistics.Capture()

  mutating func nextIdentifier() -> String {
    lastNumber += 1
    return "capture-\(era)-\(lastNumber)"
  }

  mutating func start(_ identifier: String, _ capture: Running) { running[identifier] = capture }

  mutating func requestEnd(_ identifier: String) -> Running? {
    running[identifier]?.isEnding = true
    return running[identifier]
  }

  mutating func leave(_ identifier: String) { running[identifier]?.isLeft = true }

  /// Whether packets of an interface are wanted.
  func isTaking(from interface: String) -> Bool {
    running.values.contains { !$0.isEnding && $0.options.interface == interface }
  }

  /// Resumed when the capture, which runs, has finished.
  mutating func addWaiter(_ waiter: CheckedContinuation<CaptureReport, Never>, for identifier: String) {
    waiters[identifier, default: []].append(waiter)
  }

  /// Nobody waits any longer: resumed with what is known.
  mutating func resumeWaiters() {
    for report in reports {
      for waiter in waiters.removeValue(forKey: report.identifier) ?? [] { waiter.resume(returning: report) }
    }
  }

  /// Moves a capture from the running to the finished ones. Nil: it is there already.
  mutating func finish(_ identifier: String, _ summary: CaptureSummary) -> CaptureReport? {
    guard let capture = running.removeValue(forKey: identifier) else { return nil }
    let report = CaptureReport(identifier: identifier, options: capture.options, summary: summary, isStream: capture.isStream)
    finishedTotals.add(summary)
    finished.append(report)
    if finished.count > CaptureTable.finishedMax { finished.removeFirst() }
    for waiter in waiters.removeValue(forKey: identifier) ?? [] { waiter.resume(returning: report) }
    return report
  }

  /// Of all captures since the start.
  var totals: ControlStatistics.Capture {
    running.values.reduce(into: finishedTotals) { $0.add($1.session.summary) }
  }

  /// Of the rings of those that run.
  var memoryByteCount: Int { running.values.reduce(0) { $0 + $1.memoryByteCount } }

  func isRunning(on interface: String) -> Bool { running.values.contains { $0.options.interface == interface } }

  var reports: [CaptureReport] {
    let live = running.map {
      CaptureReport(
        identifier: $0.key, options: $0.value.options, summary: $0.value.session.summary, isStream: $0.value.isStream)
    }
    return (finished + live).sorted { $0.summary.startedAt < $1.summary.startedAt }
  }
}

extension ControlStatistics.Capture {
  fileprivate mutating func add(_ summary: CaptureSummary) {
    written += summary.written
    sampledOut += summary.sampledOut
    filteredOut += summary.filteredOut
    dropped += summary.dropped
    lostByKernel += summary.lostByKernel
    bytesWritten += summary.bytesWritten
  }
}
