import Configuration
import Foundation
import Synchronization

/// The values of a YAML file by key, as texts.
struct SettingsFile: Sendable {
  static let byteCountMax = 1 << 20

  let path: String
  private(set) var values: [String: String] = [:]

  init(path: String) throws(SettingsError) {
    self.path = path
    let bytes = try Self.read(path)
    guard !Self.isEmpty(bytes) else { return }
    let keys = Keys()
    let snapshot: YAMLSnapshot
    do {
      // The parser asks for each key whether it is secret, which is the one place where it names them.
      let options = YAMLSnapshot.ParsingOptions(secretsSpecifier: .dynamic { key, _ in keys.add(key) })
      snapshot = try YAMLSnapshot(data: bytes.span.bytes, providerName: path, parsingOptions: options)
    } catch {
      // Behind the first line stands that of the file, which may have a password in it.
      let reason = "\(error)".prefix { !$0.isNewline }
      throw SettingsError(path, "is not YAML of the form \"section:\\n  key: value\": \(reason)")
    }
    var faults: [SettingsError.Fault] = []
    for key in keys.all {
      if let secret = Setting.all.first(where: { $0.isSecret && key.hasPrefix($0.key + ".") }) {
        // What stands below it is a part of what was to be its value.
        faults.append(
          .init(origin: "\(path): \(secret.key)", value: nil, reason: "takes one value: write one with { or : in quotes"))
        continue
      }
      guard let setting = Setting.all.first(where: { $0.key == key }) else {
        faults.append(.init(origin: "\(path): \(key)", value: nil, reason: Self.unknown(key)))
        continue
      }
      do {
        let content = try snapshot.value(forKey: AbsoluteConfigKey(ConfigKey(key)), type: .string).value?.content
        if case .string(let text) = content { values[setting.key] = text }
      } catch {
        faults.append(.init(origin: "\(path): \(key)", value: nil, reason: "takes one value, not a list"))
      }
    }
    if values[Setting.databasePassword.key]?.isEmpty == false, Self.isReadableByOthers(path) {
      faults.append(
        .init(
          origin: "\(path): \(Setting.databasePassword.key)", value: nil,
          reason: "everybody can read this file: chgrp sluice \(path) && chmod 640 \(path) (both services are in that "
            + "group), or set \(Setting.databasePassword.variable)"))
    }
    if !faults.isEmpty { throw SettingsError(faults) }
  }

  /// Keys in the order of the file. The parser wants a closure that any thread could call.
  private final class Keys: Sendable {
    private let keys = Mutex<[String]>([])
    var all: [String] { keys.withLock { $0 } }
    func add(_ key: String) -> Bool {
      keys.withLock { $0.append(key) }
      return true
    }
  }

  private static func read(_ path: String) throws(SettingsError) -> [UInt8] {
    do {
      let handle = try FileHandle(forReadingFrom: URL(filePath: path))
      let data = try handle.read(upToCount: byteCountMax + 1) ?? Data()
      guard data.count <= byteCountMax else {
        throw SettingsError(path, "is larger than \(byteCountMax) bytes, which no file of settings is")
      }
      return Array(data)
    } catch let error as SettingsError {
      throw error
    } catch {
      let reason = (error as NSError).userInfo[NSUnderlyingErrorKey].map { "\($0)" } ?? error.localizedDescription
      throw SettingsError(path, "cannot be read: \(reason)")
    }
  }

  /// Whether there is nothing but comments: the parser takes that for a mistake.
  private static func isEmpty(_ bytes: [UInt8]) -> Bool {
    String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).allSatisfy { line in
      let text = line.drop { $0 == " " || $0 == "\t" }
      return text.isEmpty || text.first == "#" || text == "---"
    }
  }

  private static func isReadableByOthers(_ path: String) -> Bool {
    let mode = (try? FileManager.default.attributesOfItem(atPath: path))?[.posixPermissions] as? Int
    return (mode ?? 0) & 0o004 != 0
  }

  static func unknown(_ key: String) -> String {
    if Setting.all.contains(where: { $0.key.hasPrefix(key + ".") }) {
      return "is a section: write its settings below it, indented"
    }
    guard let near = Spelling.nearest(to: key, among: Setting.all.map(\.key)) else { return "is no setting" }
    return "is no setting; did you mean \(near)?"
  }
}

/// Did you mean.
enum Spelling {
  /// The name that takes the fewest edits, or that ends in the same word; nil if none is near.
  static func nearest(to text: String, among names: [String]) -> String? {
    let best = names.map { ($0, distance(text, $0)) }.min { $0.1 < $1.1 }
    if let (name, edits) = best, edits <= max(2, text.count / 4) { return name }
    let word = text.split(separator: ".").last.map(String.init) ?? text
    return names.first { $0.hasSuffix("." + word) }
  }

  /// Insertions, deletions and replacements between two texts, of which the first 64 characters count.
  static func distance(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a.prefix(64)), Array(b.prefix(64)))
    var row = Array(0...b.count)
    for i in a.indices {
      var diagonal = row[0]
      row[0] = i + 1
      for j in b.indices {
        let replaced = diagonal + (a[i] == b[j] ? 0 : 1)
        diagonal = row[j + 1]
        row[j + 1] = min(replaced, row[j] + 1, diagonal + 1)
      }
    }
    return row[b.count]
  }
}
