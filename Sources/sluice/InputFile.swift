import Foundation
import LinuxSystem
import Rules

/// A file that a command is given.
enum InputFile {
  /// All of it; `-` is standard input.
  static func read(_ path: String, byteCountMax: Int = Limits.textByteCountMax) throws(CommandError) -> [UInt8] {
    let bytes: [UInt8]
    if path == "-" {
      do { bytes = Array(try FileHandle.standardInput.readToEnd() ?? Data()) } catch {
        throw .usage("cannot read standard input: \(error.localizedDescription)")
      }
    } else {
      do throws(SystemError) { bytes = try SmallFile.read(path, byteCountMax: byteCountMax) } catch {
        guard error.code == EFBIG else { throw .usage("\(error)") }
        throw .usage("\(path) is larger than \(byteCountMax >> 20) MiB")
      }
    }
    if bytes.count <= byteCountMax { return bytes }
    throw .usage("standard input is longer than \(byteCountMax >> 20) MiB")
  }

  static func name(_ path: String) -> String { path == "-" ? "standard input" : path }
}
