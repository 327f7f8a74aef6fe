import Foundation
import Identity
import LinuxSystem
import Logging
import RESTAPI
import Settings
import Storage

/// Where the keys of access tokens are: a folder of key files, or the one secret of an HS256 installation.
struct TokenKeys {
  let directory: KeyDirectory
  let algorithm: SigningAlgorithm
  /// Of the secret that is used instead of the folder; nil: the folder.
  let secretFile: String?

  /// A key signs so long after it was made, so that every program that shares the folder has read it by then.
  static let activationDelay: TimeInterval = 90

  init(_ settings: APISettings) {
    directory = KeyDirectory(path: settings.tokenKeysDirectory)
    algorithm = SigningAlgorithm(rawValue: settings.tokenAlgorithm.rawValue) ?? .edDSA
    secretFile = settings.jwtSecretFile
  }

  /// Everything that tokens are verified with. Where there is no key, or none of the algorithm that the settings name,
  /// makes one that signs from now on.
  func load(lifetime: TimeInterval, logger: Logger) throws -> KeyRing {
    if let secretFile { return try Self.secret(in: secretFile) }
    return try directory.locked {
      let now = Date()
      let stored = try directory.keys()
      if !stored.isEmpty {
        let ring = try KeyRing(stored)
        if ring.signing(at: now).key.algorithm == algorithm { return ring }
      }
      let key = StoredKey.random(algorithm, createdAt: now, activeFrom: now)
      let ring = try stored.isEmpty ? KeyRing([key]) : KeyRing(stored).rotated(to: key, lifetime: lifetime, at: now)
      try directory.replace(with: ring)
      logger.notice("token key made", metadata: ["kid": "\(key.id)", "algorithm": "\(algorithm.rawValue)"])
      return ring
    }
  }

  /// What encrypts secrets in the database; its key is made where there is none.
  ///
  /// - Throws: where a key would have to be made while the database holds secrets: these would be lost, and copies of the
  ///   API on other machines would seal theirs with keys of their own.
  func sealer(store: any Store, logger: Logger) async throws -> SecretSealer {
    let counts = try await SecretRekey.counts(store)
    if let ring = try directory.sealingKeys() {
      let ids = Set(ring.keys.map(\.id))
      let lost = counts.filter { !ids.contains($0.key) }
      if !lost.isEmpty {
        logger.error(
          "secrets in the database are encrypted with keys that are not in data.key: bring these back, or `sluice-api rekey` names the secrets",
          metadata: [
            "path": "\(directory.sealingKeyFile)", "keys": "\(lost.keys.sorted())",
            "secrets": "\(lost.values.reduce(0, +))",
          ])
      }
      return SecretSealer(ring)
    }
    let count = counts.values.reduce(0, +)
    guard count == 0 else {
      throw StartError(
        "there is no \(directory.sealingKeyFile), which opens \(count) secrets in the database: bring it back from the "
          + "backup, or from another copy of the API; if it is lost for good: sluice-api rekey --lost")
    }
    // Another copy that shares the folder may have been faster.
    return SecretSealer(
      try directory.locked {
        if let ring = try directory.sealingKeys() { return ring }
        let ring = try writeFirstSealingKey()
        logger.notice("key for secrets in the database made", metadata: ["path": "\(directory.sealingKeyFile)"])
        return ring
      })
  }

  /// A key of secrets where the file is lost.
  func replaceLostSealingKey() throws {
    try directory.locked {
      guard try directory.sealingKeys() == nil else {
        throw StartError("\(directory.sealingKeyFile) is there, and not lost: sluice-api rekey without --lost")
      }
      _ = try writeFirstSealingKey()
    }
  }

  private func writeFirstSealingKey() throws -> SealingKeyRing {
    let ring = try SealingKeyRing([.random(activeFrom: Date())])
    try directory.replace(with: ring)
    return ring
  }

  /// The keys of secrets as they are now, for a program that runs.
  func reloadSealingKeys() throws -> SealingKeyRing {
    guard let ring = try directory.sealingKeys() else {
      throw StartError(
        "\(directory.sealingKeyFile) is gone: bring it back from a backup; if it is lost for good: sluice-api rekey --lost")
    }
    return ring
  }

  /// The keys as they are now, for a program that runs.
  func reload() throws -> KeyRing {
    if let secretFile { return try Self.secret(in: secretFile) }
    return try KeyRing(directory.keys())
  }

  /// A new key, which signs from `activeFrom` on.
  func rotate(activeFrom: Date, lifetime: TimeInterval, at now: Date) throws -> KeyRing {
    try refuseSecretFile()
    return try directory.locked {
      let key = StoredKey.random(algorithm, createdAt: now, activeFrom: activeFrom)
      let stored = try directory.keys()
      let ring = try stored.isEmpty ? KeyRing([key]) : KeyRing(stored).rotated(to: key, lifetime: lifetime, at: now)
      guard ring.keys.count <= KeyRing.countMax else {
        throw StartError("\(directory.path) holds \(KeyRing.countMax) keys already: wait until old ones have ended")
      }
      try directory.replace(with: ring)
      return ring
    }
  }

  func retire(_ id: String, at now: Date) throws -> KeyRing {
    try refuseSecretFile()
    return try directory.locked {
      let ring = try KeyRing(directory.keys()).retired(id, at: now)
      try directory.replace(with: ring)
      return ring
    }
  }

  private func refuseSecretFile() throws {
    guard let secretFile else { return }
    throw StartError(
      "tokens are signed with the secret in \(secretFile) (\(Setting.jwtSecretFile.key)), which cannot be rotated: "
        + "take that setting away, and keys are kept in \(directory.path)")
  }

  /// The secret of an installation that names one; a file that only its owner may read.
  private static func secret(in path: String) throws -> KeyRing {
    guard FileManager.default.fileExists(atPath: path) else {
      throw StartError(
        "there is no \(path) (\(Setting.jwtSecretFile.key)): take the setting away, and a key is made, or "
          + "openssl rand -base64 48 > \(path)")
    }
    let mode = (try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? NSNumber)?.intValue ?? 0o777
    guard mode & 0o007 == 0 else {
      throw StartError(
        "\(path) can be used by everybody (mode 0\(String(mode, radix: 8))), and so can every account: "
          + "chmod 600 \(path), and replace the secret")
    }
    let text = try SmallFile.readText(path, byteCountMax: 4096)
    guard text.utf8.count >= SigningKey.secretByteCountMin else {
      throw StartError(
        "\(path) holds \(text.utf8.count) bytes; a token secret has at least \(SigningKey.secretByteCountMin) "
          + "(openssl rand -base64 48 > \(path))")
    }
    let origin = Date(timeIntervalSince1970: 0)
    return try KeyRing([
      StoredKey(id: "secret-file", key: .hs256(secret: Array(text.utf8)), createdAt: origin, activeFrom: origin)
    ])
  }
}
