import Foundation
import Identity
import LinuxSystem
import Logging

/// The secret that signs access tokens, in a file that only its owner may read.
enum TokenSecret {
  private static let byteCountMax = 4096

  /// Reads the file; makes it, with a random secret and mode 0600, where there is none.
  static func load(_ path: String, logger: Logger) throws -> [UInt8] {
    if !FileManager.default.fileExists(atPath: path) { try make(path, logger) }
    try checkMode(path)
    let text = try SmallFile.readText(path, byteCountMax: byteCountMax)
    guard text.utf8.count >= SigningKey.secretByteCountMin else {
      throw StartError(
        "\(path) holds \(text.utf8.count) bytes; a token secret has at least \(SigningKey.secretByteCountMin) "
          + "(openssl rand -base64 48 > \(path))")
    }
    return Array(text.utf8)
  }

  private static func make(_ path: String, _ logger: Logger) throws {
    let directory = URL(fileURLWithPath: path).deletingLastPathComponent().path
    if !FileManager.default.fileExists(atPath: directory) {
      do {
        try FileManager.default.createDirectory(
          atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
      } catch {
        throw StartError(
          "cannot make \(directory) for the token secret: make it for the user of sluice-api, or set "
            + "SLUICE_JWT_SECRET_FILE")
      }
    }
    let secret = Data(SecureRandom.bytes(count: 48)).base64EncodedString() + "\n"
    try SmallFile.replace(path, with: Array(secret.utf8), mode: 0o600)
    logger.notice("token secret made", metadata: ["path": "\(path)"])
  }

  private static func checkMode(_ path: String) throws {
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    let mode = (attributes[.posixPermissions] as? NSNumber)?.intValue ?? 0o777
    guard mode & 0o007 == 0 else {
      throw StartError(
        "\(path) can be used by everybody (mode 0\(String(mode, radix: 8))), and so can every account: "
          + "chmod 600 \(path), and replace the secret")
    }
  }
}
