import Glibc

/// The running kernel.
public enum Kernel {
  /// `uname -r`: `6.1.0-28-amd64`.
  public static func release() -> String {
    var name = utsname()
    uname(&name)
    return withUnsafeBytes(of: name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}
