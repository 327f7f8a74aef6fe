import Foundation

/// Memory for captures' files, warm before a capture begins: a file beside them, which shrinks as a capture's grows and
/// takes the memory back before the next one.
///
/// A virtual machine gives memory that is free for seconds back to its host (free page reporting), which disturbs what
/// runs meanwhile, and gets it again at a fifth of the speed of memory. Whoever captured after a pause would be measured
/// by that, and not by what it does. The file stays for the next value. One thread uses it.
final class CaptureReserve {
  private static let path = "\(Enclosure.folder)/reserve"
  private let file: FileHandle
  private let byteCount: UInt64
  private var left: UInt64

  /// Free at any time: what a capture writes until it is looked after again, some times.
  private static let freeByteCount: UInt64 = 64 << 20
  private static let pieceByteCount = 1 << 20

  /// The most there can be: most of the file system, for the files are in it, too.
  static var byteCountMax: UInt64 {
    let system = try? FileManager.default.attributesOfFileSystem(forPath: Enclosure.folder)
    return ((system?[.systemSize] as? UInt64) ?? 0) / 8 * 7
  }

  /// Makes the file so large, or as large as it can be. Takes a second for each gigabyte or less, some times that at
  /// first.
  init(byteCount: UInt64) throws {
    let path = CaptureReserve.path
    if !FileManager.default.fileExists(atPath: path) {
      _ = FileManager.default.createFile(atPath: path, contents: nil)
    }
    guard let file = FileHandle(forWritingAtPath: path) else { throw BenchError("cannot write \(path)") }
    let wanted = min(byteCount, CaptureReserve.byteCountMax)
    // Memory that is allocated without being written is not touched.
    let piece = Data(count: CaptureReserve.pieceByteCount)
    var end = try file.seekToEnd()
    while end < wanted {
      try file.write(contentsOf: piece)
      end += UInt64(piece.count)
    }
    self.file = file
    self.byteCount = end
    left = end
  }

  /// Gives free what the capture at `path` needs next.
  func follow(_ path: String) {
    let size = (try? FileManager.default.attributesOfItem(atPath: path))?[.size] as? UInt64
    let gone = (size ?? 0) + CaptureReserve.freeByteCount
    let wanted = byteCount > gone ? byteCount - gone : 0
    if wanted >= left { return }
    left = wanted
    try? file.truncate(atOffset: left)
  }

  deinit { try? file.close() }
}
