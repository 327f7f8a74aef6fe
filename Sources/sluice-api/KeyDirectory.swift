import Foundation
import Identity
import LinuxSystem

/// A folder with one file for each key, `KID.jwk`, that nobody but the program's own user may read or change.
struct KeyDirectory {
  let path: String

  private static let suffix = ".jwk"
  /// What a folder may hold before it is taken for another one.
  private static let entriesMax = 1024

  /// Runs `body` while no other program changes the folder; makes the folder where there is none.
  func locked<Result>(_ body: () throws -> Result) throws -> Result {
    try make()
    let lock = try acquire()
    let result = try body()
    _ = consume lock
    return result
  }

  private func acquire() throws(SystemError) -> FileLock {
    let deadline = ContinuousClock.now + .seconds(10)
    while true {
      do throws(SystemError) { return try FileLock(path: "\(path)/.lock") } catch {
        guard error.code == EWOULDBLOCK, ContinuousClock.now < deadline else { throw error }
        usleep(20_000)
      }
    }
  }

  /// Every key in the folder; none where there is no folder.
  func keys() throws -> [StoredKey] {
    guard FileManager.default.fileExists(atPath: path) else { return [] }
    try check(path, isDirectory: true)
    let names = try FileManager.default.contentsOfDirectory(atPath: path).filter { $0.hasSuffix(Self.suffix) }
    guard names.count <= Self.entriesMax else { throw StartError("\(path) holds \(names.count) keys: is it the right folder?") }
    return try names.sorted().map { name in
      let file = "\(path)/\(name)"
      try check(file, isDirectory: false)
      let key: StoredKey
      do throws(SigningKeyError) { key = try StoredKey(secretText: SmallFile.text(of: file)) } catch {
        throw StartError("\(file): \(error); put it right or take it away")
      }
      guard name == key.id + Self.suffix else { throw StartError("\(file) holds the key \(key.id): one of both is wrong") }
      return key
    }
  }

  /// Writes what the ring has, and removes what it has not. Run ``locked(_:)``.
  func replace(with ring: KeyRing) throws {
    let before = try keys()
    for key in ring.keys { try write(key.secretText(), to: "\(path)/\(key.id)\(Self.suffix)") }
    for key in before where !ring.keys.contains(where: { $0.id == key.id }) {
      try FileManager.default.removeItem(atPath: "\(path)/\(key.id)\(Self.suffix)")
    }
  }

  /// Where the keys of secrets are.
  var sealingKeyFile: String { "\(path)/data.key" }

  /// The keys of secrets; nil where there is no file of them.
  func sealingKeys() throws -> SealingKeyRing? {
    guard FileManager.default.fileExists(atPath: sealingKeyFile) else { return nil }
    try check(path, isDirectory: true)
    try check(sealingKeyFile, isDirectory: false)
    let text = try SmallFile.readText(sealingKeyFile, byteCountMax: 4096)
    do throws(SealingKeyRing.Failure) { return try SealingKeyRing(parsing: text) } catch {
      throw StartError("\(sealingKeyFile): \(error)")
    }
  }

  /// The file appears whole or not at all. Run ``locked(_:)``.
  func replace(with ring: SealingKeyRing) throws { try write(ring.secretText(), to: sealingKeyFile) }

  private func write(_ text: String, to file: String) throws {
    try SmallFile.replace(file, with: Array(text.utf8), mode: 0o600)
    // Made by root for the service's user, to whom the folder belongs.
    guard geteuid() == 0, let owner = try attributes(path)[.ownerAccountID] as? NSNumber, owner.uint32Value != 0 else {
      return
    }
    try FileManager.default.setAttributes([.ownerAccountID: owner], ofItemAtPath: file)
  }

  private func make() throws {
    guard !FileManager.default.fileExists(atPath: path) else { return try check(path, isDirectory: true) }
    do {
      try FileManager.default.createDirectory(
        atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw StartError(
        "cannot make \(path) for the keys of tokens: make it for the user of sluice-api, with mode 0700, or set "
          + "SLUICE_TOKEN_KEYS")
    }
  }

  private func attributes(_ path: String) throws -> [FileAttributeKey: Any] {
    try FileManager.default.attributesOfItem(atPath: path)
  }

  /// Of this user alone; root may also use what is the service's.
  private func check(_ item: String, isDirectory: Bool) throws {
    let found = try attributes(item)
    let kind = found[.type] as? FileAttributeType
    guard kind == (isDirectory ? .typeDirectory : .typeRegular) else {
      throw StartError("\(item) is no \(isDirectory ? "folder" : "regular file")")
    }
    let mode = (found[.posixPermissions] as? NSNumber)?.intValue ?? 0o777
    guard mode & 0o077 == 0 else {
      throw StartError(
        "\(item) can be used by others (mode 0\(String(mode, radix: 8))), who can then be every account: chmod "
          + "\(isDirectory ? "700" : "600") \(item), then sluice-api keys rotate --now and retire the old ones")
    }
    let owner = (found[.ownerAccountID] as? NSNumber)?.uint32Value
    guard owner == geteuid() || geteuid() == 0 else {
      throw StartError("\(item) belongs to the user \(owner.map(String.init) ?? "?"), not to this one: chown it")
    }
  }
}

extension SmallFile {
  /// A key file's text; a file that cannot be read is no key.
  fileprivate static func text(of path: String) throws(SigningKeyError) -> String {
    do throws(SystemError) { return try readText(path, byteCountMax: 4096) } catch {
      throw .malformedKey(reason: error.description)
    }
  }
}
