import Foundation

/// Keeps free memory warm while captures are measured.
///
/// A virtual machine with free page reporting (kernel `mm/page_reporting.c`) hands memory that has been free for seconds
/// back to its host, and gets it again at a fifth of the speed of memory: a file in memory was written at 0.4 to 0.6 GB/s
/// instead of 3. Whoever captured after a pause would be measured by that, and not by what it does. So reporting stops
/// until this ends, and what the files will need is touched once. One thread uses it.
final class WarmMemory {
  private static let path = "\(Enclosure.folder)/warm"
  private static let pieceByteCount = 1 << 20

  private let reporting = PageReporting()

  /// Takes a second for each gigabyte, some more if it is cold.
  ///
  /// - Parameter byteCount: The largest file to come. No more than three quarters of the file system are touched.
  init(byteCount: UInt64) throws {
    reporting.stop()
    guard FileManager.default.createFile(atPath: WarmMemory.path, contents: nil),
      let file = FileHandle(forWritingAtPath: WarmMemory.path)
    else { throw BenchError("cannot write \(WarmMemory.path)") }
    defer { try? FileManager.default.removeItem(atPath: WarmMemory.path) }
    // Memory that is allocated without being written is not touched.
    let piece = Data(count: WarmMemory.pieceByteCount)
    for _ in 0..<min(byteCount, WarmMemory.byteCountMax) / UInt64(piece.count) { try file.write(contentsOf: piece) }
    try file.close()
  }

  /// Of one file: three quarters of the file system that the captures are in.
  static var byteCountMax: UInt64 {
    let system = try? FileManager.default.attributesOfFileSystem(forPath: Enclosure.folder)
    return ((system?[.systemSize] as? UInt64) ?? 0) / 4 * 3
  }

  deinit { reporting.restore() }
}
