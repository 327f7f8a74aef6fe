import Glibc
import LinuxSystem
import XSK

/// The files of one capture: changes the file when it is full, removes old ones. One thread.
final class CaptureFiles: CaptureSink {
  private let request: CaptureRequest
  private let interface: String
  private let startedAt: UInt64
  private let firstPath: String
  private var file: OutputFile
  private var packetsInFile: UInt64 = 0
  private var sequence = 0
  private var bytesOfFormerFiles: UInt64 = 0
  private(set) var paths: [String]
  private(set) var written: UInt64 = 0

  /// Creates the first file and writes its headers.
  init(path: String, request: CaptureRequest, interface: String, startedAt: UInt64) throws(SystemError) {
    var file = try OutputFile(creating: path)
    do throws(SystemError) {
      try file.append(Pcapng.headers(request, interface))
    } catch {
      unlink(path)
      throw error
    }
    self.file = file
    self.request = request
    self.interface = interface
    self.startedAt = startedAt
    firstPath = path
    paths = [path]
  }

  var byteCount: UInt64 { bytesOfFormerFiles + file.byteCount }

  /// Room for the statistics is kept.
  var room: UInt64 { min(CaptureFiles.room(request.byteLimit, byteCount), fileRoom) }

  private var fileRoom: UInt64 { CaptureFiles.room(request.fileByteLimit, file.byteCount) }

  private static func room(_ limit: UInt64, _ used: UInt64) -> UInt64 {
    if limit == 0 { return .max }
    let reserved = used + Pcapng.statisticsByteCount
    return limit > reserved ? limit - reserved : 0
  }

  func makeRoom(for size: Int, _ statistics: () -> CaptureStatistics) throws(SystemError) -> CaptureRoom {
    let size = UInt64(size)
    if CaptureFiles.room(request.byteLimit, byteCount) < size { return .limit(.byteLimit) }
    if request.fileCount == 0 || packetsInFile == 0 { return .limit(.fileFull) }
    try change(statistics())
    if CaptureFiles.room(request.byteLimit, byteCount) < size { return .limit(.byteLimit) }
    return fileRoom < size ? .limit(.fileFull) : .isThere
  }

  func write(_ blocks: borrowing GatherList, packets: UInt64) throws(SystemError) {
    var kept = packets
    defer {
      written += kept
      packetsInFile += kept
    }
    try file.append(blocks) { done in
      let whole = PacketBlock.measure(blocks, byteLimit: UInt64(done))
      kept = whole.packets
      return whole.byteCount
    }
  }

  var idleTimeoutMilliseconds: CInt { -1 }
  var isAbandoned: Bool { false }

  func idle(_ statistics: () -> CaptureStatistics) {}

  func finish(_ statistics: CaptureStatistics) throws(SystemError) {
    var bytes: [UInt8] = []
    Pcapng.appendStatistics(statistics, startedAt: startedAt, delivered: written, to: &bytes)
    try file.append(bytes)
  }

  func abandon() { for path in paths { unlink(path) } }

  private func change(_ statistics: CaptureStatistics) throws(SystemError) {
    try finish(statistics)
    // First: on a disk that is as large as the files there is room for the next one then. The one just completed stays.
    while paths.count > 1, paths.count >= Int(request.fileCount) { unlink(paths.removeFirst()) }
    var next = try makeNext()
    do throws(SystemError) {
      try next.append(Pcapng.headers(request, interface))
    } catch {
      unlink(next.path)
      throw error
    }
    paths.append(next.path)
    while paths.count > Int(max(request.fileCount, 1)) { unlink(paths.removeFirst()) }
    bytesOfFormerFiles += file.byteCount
    packetsInFile = 0
    file = next
  }

  /// The next file whose name nobody uses: what is there stays as it is.
  private func makeNext() throws(SystemError) -> OutputFile {
    while true {
      sequence += 1
      let path = CaptureFiles.path(firstPath, sequence: sequence)
      do throws(SystemError) {
        return try OutputFile(creating: path)
      } catch {
        if error.code != EEXIST { throw error }
      }
    }
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
