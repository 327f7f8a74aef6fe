import Glibc
import LinuxSystem

/// The files of one capture: buffers, changes the file when it is full, removes old ones. One thread.
///
/// A packet counts as written when the bytes it is in were written whole.
struct CaptureFiles: ~Copyable {
  enum Outcome: Equatable {
    case written
    /// The packet was not written: the limit would be passed.
    case limit(CaptureSummary.Reason)
  }

  private let request: CaptureRequest
  private let interface: String
  private let startedAt: UInt64
  private var file: OutputFile
  private var buffer: [UInt8] = []
  private var bufferedPackets: UInt64 = 0
  private var packetsInFile: UInt64 = 0
  private var sequence = 0
  private var bytesOfFormerFiles: UInt64 = 0
  private(set) var paths: [String]
  private(set) var written: UInt64 = 0

  private static var bufferByteCount: Int { 256 << 10 }

  /// Creates the first file and writes its headers.
  init(request: CaptureRequest, interface: String, startedAt: UInt64) throws(SystemError) {
    var file = try OutputFile(creating: request.path)
    do throws(SystemError) {
      try file.append(CaptureFiles.headers(request, interface))
    } catch {
      unlink(request.path)
      throw error
    }
    self.file = file
    self.request = request
    self.interface = interface
    self.startedAt = startedAt
    paths = [request.path]
    buffer.reserveCapacity(2 * CaptureFiles.bufferByteCount)
  }

  /// Bytes of all files so far.
  var byteCount: UInt64 { bytesOfFormerFiles + file.byteCount }

  private static func headers(_ request: CaptureRequest, _ interface: String) -> [UInt8] {
    var bytes: [UInt8] = []
    Pcapng.appendSectionHeader(to: &bytes)
    Pcapng.appendInterface(name: interface, snapByteCount: request.effectiveSnapByteCount, to: &bytes)
    return bytes
  }

  /// Buffers a packet. After an error neither this packet nor the buffered ones are written.
  mutating func append(
    _ packet: RawSpan, originalByteCount: UInt32, timestampNanoseconds: UInt64, options: [UInt8],
    progress: (received: UInt64, dropped: UInt64)
  ) throws(SystemError) -> Outcome {
    if request.packetLimit > 0, written + bufferedPackets >= request.packetLimit { return .limit(.packetLimit) }
    let size = UInt64(Pcapng.packetBlockByteCount(captured: packet.byteCount, options: options.count))
    let room = size + Pcapng.statisticsByteCount
    if request.byteLimit > 0, byteCount + UInt64(buffer.count) + room > request.byteLimit { return .limit(.byteLimit) }
    if request.fileByteLimit > 0, file.byteCount + UInt64(buffer.count) + room > request.fileByteLimit {
      if request.fileCount == 0 || packetsInFile == 0 { return .limit(.fileFull) }
      try change(progress)
      if byteCount + room > request.byteLimit, request.byteLimit > 0 { return .limit(.byteLimit) }
      if file.byteCount + room > request.fileByteLimit { return .limit(.fileFull) }
    }
    Pcapng.appendPacket(
      packet, originalByteCount: originalByteCount, timestampNanoseconds: timestampNanoseconds, options: options,
      to: &buffer)
    bufferedPackets += 1
    packetsInFile += 1
    return .written
  }

  /// The packet limit is reached exactly.
  var isAtPacketLimit: Bool { request.packetLimit > 0 && written + bufferedPackets >= request.packetLimit }

  /// The buffer is worth a write.
  var isBufferFull: Bool { buffer.count >= CaptureFiles.bufferByteCount }

  /// Writes what is buffered.
  mutating func flush() throws(SystemError) {
    if buffer.isEmpty { return }
    try file.append(buffer)
    written += bufferedPackets
    bufferedPackets = 0
    buffer.removeAll(keepingCapacity: true)
  }

  /// Gives up what is buffered, after an error. Returns the number of packets.
  mutating func discard() -> UInt64 {
    buffer.removeAll()
    defer { bufferedPackets = 0 }
    return bufferedPackets
  }

  /// Writes the rest and the statistics.
  mutating func finish(received: UInt64, dropped: UInt64) throws(SystemError) {
    try flush()
    Pcapng.appendStatistics(
      startedAt: startedAt, endedAt: SystemClock.realtimeNanoseconds(), received: received, dropped: dropped,
      delivered: written, to: &buffer)
    try flush()
  }

  private mutating func change(_ progress: (received: UInt64, dropped: UInt64)) throws(SystemError) {
    try finish(received: progress.received, dropped: progress.dropped)
    let path = CaptureFiles.path(request.path, sequence: sequence + 1)
    var next = try OutputFile(creating: path)
    paths.append(path)
    sequence += 1
    bytesOfFormerFiles += file.byteCount
    packetsInFile = 0
    let headers = CaptureFiles.headers(request, interface)
    do throws(SystemError) {
      try next.append(headers)
    } catch {
      file = next
      throw error
    }
    file = next
    while paths.count > Int(max(request.fileCount, 1)) { unlink(paths.removeFirst()) }
  }

  /// `x.pcapng` → `x.00001.pcapng`.
  static func path(_ first: String, sequence: Int) -> String {
    let digits = String(sequence)
    let number = String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    let slash = first.lastIndex(of: "/").map { first.index(after: $0) } ?? first.startIndex
    // A dot that begins the name is no extension.
    guard let dot = first[slash...].lastIndex(of: "."), dot > slash else { return "\(first).\(number)" }
    return "\(first[..<dot]).\(number)\(first[dot...])"
  }
}
