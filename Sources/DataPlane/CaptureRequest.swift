import LinuxSystem
import XSK

/// Where a capture goes.
public enum CaptureDestination: Hashable, Sendable {
  /// Path of the first file; must not exist yet.
  case file(String)
  /// A reader's, unused so far.
  case stream(CaptureStream)
}

/// What to capture, how much of it, and where to. Limits of 0 are none.
public struct CaptureRequest: Hashable, Sendable {
  public var destination: CaptureDestination
  /// Bytes kept of each packet; 0: 262,144.
  public var snapByteCount: UInt32
  /// One of so many packets is written, of each queue the first of each group; 0 and 1: all.
  public var sampleEvery: UInt32
  /// The session finishes when so many packets are written.
  public var packetLimit: UInt64
  /// The session finishes before its files, all together, or its stream get larger.
  public var byteLimit: UInt64
  public var durationMilliseconds: UInt64
  /// No file gets larger. With ``fileCount`` 0 the session finishes at the first full file.
  public var fileByteLimit: UInt64
  /// Ring of files: a full file is followed by a new one (`x.00001.pcapng` after `x.pcapng`), and only so many of the
  /// newest are kept. Needs ``fileByteLimit``. Both for files only.
  public var fileCount: UInt32
  /// Only packets captured by the rules of these slots; nil: all.
  public var slots: Set<UInt32>?
  /// Memory per queue, between packet thread and file: a power of two. It covers a writer that stands still.
  public var ringByteCount: Int

  public init(
    to destination: CaptureDestination, snapByteCount: UInt32 = 0, sampleEvery: UInt32 = 1, packetLimit: UInt64 = 0,
    byteLimit: UInt64 = 0, durationMilliseconds: UInt64 = 0, fileByteLimit: UInt64 = 0, fileCount: UInt32 = 0,
    slots: Set<UInt32>? = nil, ringByteCount: Int = CaptureRequest.ringByteCountStandard
  ) {
    self.destination = destination
    self.snapByteCount = snapByteCount
    self.sampleEvery = sampleEvery
    self.packetLimit = packetLimit
    self.byteLimit = byteLimit
    self.durationMilliseconds = durationMilliseconds
    self.fileByteLimit = fileByteLimit
    self.fileCount = fileCount
    self.slots = slots
    self.ringByteCount = ringByteCount
  }

  /// To a file, with no limits but those given.
  public init(
    path: String, snapByteCount: UInt32 = 0, sampleEvery: UInt32 = 1, packetLimit: UInt64 = 0, byteLimit: UInt64 = 0,
    durationMilliseconds: UInt64 = 0, fileByteLimit: UInt64 = 0, fileCount: UInt32 = 0, slots: Set<UInt32>? = nil,
    ringByteCount: Int = CaptureRequest.ringByteCountStandard
  ) {
    self.init(
      to: .file(path), snapByteCount: snapByteCount, sampleEvery: sampleEvery, packetLimit: packetLimit,
      byteLimit: byteLimit, durationMilliseconds: durationMilliseconds, fileByteLimit: fileByteLimit,
      fileCount: fileCount, slots: slots, ringByteCount: ringByteCount)
  }

  public static var snapByteCountMax: UInt32 { 262_144 }
  /// 150 ms of 4 million small packets a second.
  public static var ringByteCountStandard: Int { 64 << 20 }
  public static var ringByteCountMax: Int { 4 << 30 }
  public static var fileCountMax: UInt32 { 10_000 }
  /// Room for the headers of a file and some packets.
  public static var byteLimitMin: UInt64 { 4096 }

  var effectiveSnapByteCount: UInt32 { snapByteCount == 0 ? CaptureRequest.snapByteCountMax : snapByteCount }

  /// Names the first field that cannot be.
  public func validate() throws(CaptureError) {
    switch destination {
    case .file(let path):
      if path.isEmpty || path.utf8.contains(0) { throw .invalid(field: "path", reason: "empty or with a NUL byte") }
    case .stream:
      if fileByteLimit != 0 { throw .invalid(field: "file_byte_limit", reason: "a stream is one file") }
    }
    if snapByteCount > CaptureRequest.snapByteCountMax {
      throw .invalid(field: "snap_length", reason: "at most \(CaptureRequest.snapByteCountMax)")
    }
    for (field, limit) in [("byte_limit", byteLimit), ("file_byte_limit", fileByteLimit)]
    where limit != 0 && limit < CaptureRequest.byteLimitMin {
      throw .invalid(field: field, reason: "0 or at least \(CaptureRequest.byteLimitMin)")
    }
    if fileCount > 0 && fileByteLimit == 0 { throw .invalid(field: "file_count", reason: "needs file_byte_limit") }
    if fileCount > CaptureRequest.fileCountMax {
      throw .invalid(field: "file_count", reason: "at most \(CaptureRequest.fileCountMax)")
    }
    if let slots, slots.isEmpty { throw .invalid(field: "rules", reason: "an empty filter captures nothing") }
    if !(4096...CaptureRequest.ringByteCountMax).contains(ringByteCount) || ringByteCount & (ringByteCount - 1) != 0 {
      throw .invalid(
        field: "ring_byte_count", reason: "a power of two, 4096 to \(CaptureRequest.ringByteCountMax)")
    }
  }
}

/// Why a capture did not start.
public enum CaptureError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The request is wrong. The field's name is that of the control protocol.
  case invalid(field: String, reason: String)
  /// The first file, memory or a thread could not be had.
  case system(SystemError)
  /// So many captures run on the interface already.
  case tooMany(limit: Int)
  /// The interface is being detached.
  case queueStopped

  public var description: String {
    switch self {
    case .invalid(let field, let reason): "\(field): \(reason)"
    case .system(let error): error.description
    case .tooMany(let limit): "\(limit) captures run on the interface already; stop one first"
    case .queueStopped: "the interface's queues are stopping"
    }
  }
}

/// How a capture fares. Once it is over: received = written + sampledOut + filteredOut + dropped, to the packet.
public struct CaptureSummary: Hashable, Sendable {
  public enum State: Hashable, Sendable {
    case running
    case finished(Reason)
    /// Could not write; what was written whole stays readable.
    case failed(SystemError)
  }

  public enum Reason: String, Hashable, Sendable {
    case stopped
    case packetLimit
    case byteLimit
    case duration
    /// The one file is full.
    case fileFull
    /// The queues ended: the interface was detached.
    case queuesStopped
    /// Nobody reads the stream any more.
    case readerGone
  }

  public var state: State = .running
  /// Nanoseconds since 1970.
  public var startedAt: UInt64 = 0
  /// 0 while it runs.
  public var finishedAt: UInt64 = 0
  public var received: UInt64 = 0
  public var written: UInt64 = 0
  public var sampledOut: UInt64 = 0
  public var filteredOut: UInt64 = 0
  /// Writer, or reader of the stream, could not keep up.
  public var droppedRingFull: UInt64 = 0
  /// Came after a limit was reached, before the queues let go: nobody wanted them. Not among ``received``.
  public var afterLimit: UInt64 = 0
  /// Could not be written.
  public var droppedWriteError: UInt64 = 0
  /// The reader of the stream had not taken them when the capture was over.
  public var droppedUnread: UInt64 = 0
  /// Meant for the queues, and lost in the kernel: it had no frame or no room in the receive ring. Not among
  /// ``received``.
  public var lostByKernel: UInt64 = 0
  /// Bytes of all files, removed ones too; or of the stream.
  public var bytesWritten: UInt64 = 0
  /// The files that are there, oldest first.
  public var files: [String] = []

  public var dropped: UInt64 { droppedRingFull + droppedWriteError + droppedUnread }

  public init() {}
}
